"""The command itself, in a process of its own: what it is joined to, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from disdel.cli import dataset
from disdel.data import digits


@pytest.fixture
def run(tmp_path):
    """A command whose settings are those of a fresh user, and what it has said."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
    }

    def start(shell, **variables):
        return subprocess.run(
            ["/bin/sh", "-c", shell.replace("disdel", f"{sys.executable} -m disdel", 1)],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )

    return start


@pytest.mark.parametrize(
    ("shell", "said", "code"),
    [
        ("disdel dataset list >&-", "standard output cannot be written (it is closed)", 1),
        ("disdel dataset list >/dev/full", "(No space left on device)", 1),
        ("disdel dataset list --json - >/dev/full", "(No space left on device)", 1),
        ("disdel dataset list <&- 2>&- >/dev/full", "", 1),
        ("disdel no-such-command 2>/dev/full", "", 2),
        ("disdel runs show none 2>&-", "", 2),
        ("disdel dataset list --json /dev/null/x", "there is no such folder", 2),
        ("disdel runs list --run-dir '~nobody-of-that-name'", "there is no such home folder", 2),
        ("disdel --debug runs show none", "Traceback (most recent call last)", 2),
    ],
)
def test_what_it_is_joined_to_is_told(run, shell, said, code):
    done = run(shell)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == ("--debug" in shell)
    assert "Exception ignored" not in done.stderr


SHOWN_TWICE = """
from disdel.host import streams
from disdel.report.views import LastingView
streams.open_streams()
view = LastingView(lambda event: print(event, flush=True))
view("begun")
view("ended")
streams.flush_output()
"""


@pytest.mark.parametrize("joined", [">&-", ">/dev/full"])
def test_a_view_that_cannot_be_shown_ends_no_run(joined):
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {joined}', sys.executable, SHOWN_TWICE],
        env={"PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the run goes on, and its output is not shown") == 1


def test_a_reader_that_has_enough(run):
    done = run("disdel dataset list --json - | head -1")
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_terminal_of_ascii(run):
    done = run("disdel dataset list", PYTHONIOENCODING="ascii")
    assert "8x8x1" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_that_cannot_be_used_has_a_stand_in(run, tmp_path):
    home = {"HOME": "/dev/null/home", "TMPDIR": str(tmp_path)}
    done = run("disdel plan digits --json plan.json --quiet", **home)
    assert done.returncode == 0, done.stderr
    stand_in = tmp_path / f"disdel-{os.getuid()}"
    assert f"{stand_in / 'tensorflow_datasets'} is used" in done.stderr
    assert stand_in.stat().st_mode & 0o077 == 0
    stand_in.chmod(0o777)
    done = run("disdel plan digits", **home)
    assert done.returncode == 2
    assert "is not this user's alone: set DISDEL_" in done.stderr


def test_a_fault_of_the_program_names_its_file(run, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import disdel.cli.app\n"
        "def fail(*_, **__): raise KeyError('of nobody')\n"
        "disdel.cli.app.app = fail\n"
    )
    done = run("disdel runs list", PYTHONPATH=f"{site}:{Path.cwd()}")
    assert done.returncode == 1
    [kept] = (tmp_path / ".local/state/disdel/faults").iterdir()
    assert done.stderr == (
        "disdel: this is a fault of disdel itself (KeyError: 'of nobody'): please report it with "
        f"the file {kept}\n"
    )


_SLOW = """
import sys, time
class Slow:
    def find_spec(self, name, *_):
        if name == "disdel.cli.app":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from disdel.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_first_second_is_an_interrupt(number):
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, "runs", "list"],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "disdel: interrupted\n")


def test_an_interrupt_while_the_command_starts_is_no_traceback():
    """Of all that it imports, the first is where the interrupt comes."""
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, *_):\n"
        "        sys.meta_path.remove(self)\n"
        "        raise KeyboardInterrupt\n"
        "from disdel.__main__ import main\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_after_an_import_says_what_is_there(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("disdel.jobs.compile_ahead", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dataset._compile_ahead(digits.SPEC, tmp_path, quiet=False)
    assert "digits is imported; the network for it is not compiled" in capsys.readouterr().err
