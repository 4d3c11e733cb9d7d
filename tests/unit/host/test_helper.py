"""Helper processes: bounded, and gone with everything that they have started."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from disdel.host.helper import Helper, run_helper
from tests.support.waiting import wait_until, wait_until_none

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A child in a session of its own, orphaned, that says who it is and goes on for ever.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".part", "w") as file: file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        while True: time.sleep(60)
    os._exit(0)
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
"""


def run(code, *arguments, **options):
    command = [sys.executable, "-c", code, *arguments]
    return run_helper(command, environ={"PATH": os.environ["PATH"]}, **options)


def is_gone(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_what_it_writes_reads_and_ends_with_is_known(tmp_path):
    code = "import sys, os; print(sys.stdin.read(), os.getcwd()); print('no', file=sys.stderr)"
    ended = run(f"{code}; sys.exit(3)", said="given", cwd=tmp_path)
    assert (ended.status, ended.stopped, ended.stderr) == (3, None, "no\n")
    assert ended.stdout == f"given {tmp_path}\n"
    assert ended.why("it") == "it ended its process with status 3 (no)"


def test_of_what_it_writes_the_end_is_kept():
    ended = run("print('x' * (5 << 20)); print('end')")
    assert ended.status == 0
    assert len(ended.stdout) == 1 << 16
    assert ended.stdout.endswith("x\nend\n")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os.abort()", "it crashed: its process was ended by SIGABRT"),
        ("import os; os._exit(7)", "it ended its process with status 7"),
        ("import os; os.kill(os.getppid(), 9)", "it crashed: its process was ended by SIGKILL"),
        ("while True: pass", "it has not ended in 1 s and was stopped.*HELPER_TIMEOUT_S"),
        ("import os; os.kill(os.getpid(), 19)", "it has not ended in 1 s"),
        ("input()", r"status 1 \(EOFError"),
    ],
)
def test_why_there_is_no_result_is_said(code, why, monkeypatch):
    import re

    if "1 s" in why:
        monkeypatch.setenv("DISDEL_HELPER_TIMEOUT_S", "1")
    assert re.search(why, run(code).why("it"))


@pytest.mark.parametrize(
    "code",
    [
        "kept = []\nwhile True: kept.append(bytearray(1 << 20))",
        "import os\nfor _ in range(3): os.fork()\nk = []\nwhile True: k.append(bytearray(1 << 18))",
    ],
)
def test_memory_is_bounded_with_that_of_children(code, monkeypatch):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "200")
    ended = run(code)
    assert ended.stopped == "memory"
    assert "took more than 200 MB of memory" in ended.why("it")


def test_shared_pages_count_once(monkeypatch):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "250")
    fork = "import os, time\nkept = bytearray(b'x') * (150 << 20)\n"
    assert run(f"{fork}for _ in range(3): os.fork()\ntime.sleep(1)").status == 0


def test_children_end_with_it(tmp_path):
    assert run(DAEMON, str(tmp_path / "id")).status == 0
    assert is_gone(int((tmp_path / "id").read_text()))


def test_one_that_was_not_told_yet_has_all_the_time_and_ends_when_it_is_closed(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("DISDEL_HELPER_TIMEOUT_S", "0.2")
    code = (
        "import os, sys, time; time.sleep(0.7)\n"
        "with open(sys.argv[1] + '.part', 'w') as file: file.write(str(os.getpid()))\n"
        "os.rename(sys.argv[1] + '.part', sys.argv[1]); sys.stdin.read()"
    )
    told = tmp_path / "id"
    with Helper([sys.executable, "-c", code, str(told)], environ={}):
        wait_until(told.exists)
        process = int(told.read_text())
        assert not is_gone(process)
    assert is_gone(process)


def test_one_that_was_started_reads_what_it_is_told_later(tmp_path):
    code = "import sys; print(len(sys.stdin.read()))"
    with Helper([sys.executable, "-c", code], environ={}) as helper:
        said = "x" * (1 << 20)  # more than a pipe holds
        ended = helper.ended(said)
    assert (ended.status, ended.stdout) == (0, f"{1 << 20}\n")


def test_what_one_reads_that_has_ended_before_is_lost_and_no_error():
    with Helper([sys.executable, "-c", "raise SystemExit(4)"], environ={}) as helper:
        assert helper.ended("x" * (1 << 20)).status == 4


def test_its_temporary_files_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / "disdel-helper-dead"
    dead.mkdir()
    (dead / ".owner").touch()
    code = "import tempfile; print(tempfile.mkdtemp()); tempfile.mkstemp()"
    ended = run(code)
    assert Path(ended.stdout.strip()).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_however_its_command_ends(tmp_path, number):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    scratch, process_id = tmp_path / "scratch", tmp_path / "id"
    scratch.mkdir()
    code = (
        "import json, sys; from pathlib import Path; from disdel.host.helper import run_helper\n"
        "command, scratch = json.loads(sys.argv[1])\n"
        "run_helper(command, environ={}, scratch=Path(scratch))"
    )
    helper = [sys.executable, "-c", f"{DAEMON}\ntime.sleep(600)", str(process_id)]
    command = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps([helper, str(scratch)])],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    with command:
        wait_until(process_id.exists)
        command.send_signal(number)
    wait_until(lambda: is_gone(int(process_id.read_text())))
    wait_until_none(lambda: [*tmp_path.glob("scratch"), *temporary.iterdir()])


def test_it_ends_when_its_guard_is_killed(tmp_path):
    code = "import os, sys, time\nopen(sys.argv[1], 'w').write(f'{os.getpid()} {os.getppid()}\\n')"
    told = tmp_path / "ids"

    def kill():
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
        os.kill(int(told.read_text().split()[1]), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert run(f"{code}\ntime.sleep(600)", str(told)).status == -signal.SIGKILL
    thread.join()
    wait_until(lambda: is_gone(int(told.read_text().split()[0])))
