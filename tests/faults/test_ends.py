"""Runs that end at any moment, in any way: nothing stays, or `disdel stop` removes it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import redis

from disdel.platforms.embedded.finding import platform_down
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.store.private_redis import PrivateRedis
from disdel.types.report_json import read_report
from tests.support import local_http
from tests.support.held import until
from tests.support.linear import linear_job
from tests.support.waiting import wait_until, wait_until_none

ROOT = Path(__file__).parents[2]
TRAIN = ("train", "digits", "--workers", "2", "--epochs", "400", "--runtime", "tensorflow")
# Seconds from the start of a command: imports, servers, plan, package, staging, rounds.
MOMENTS = [0.05, 0.3, 0.6, 0.9, 1.3, 1.8, 2.6]


class Home:
    """A folder with all that commands leave, and those commands."""

    def __init__(self, path):
        self.path = path
        # Names of temporary folders are looked at afterwards.
        self.temporary = path / "tmp"
        self.temporary.mkdir()
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "HOME": str(path),
            "TMPDIR": str(self.temporary),
            "DISDEL_STATE_DIR": str(path / "state"),
            "DISDEL_RUN_DIR": str(path / "runs"),
        }

    def start(self, *arguments, module="tests.support.linear", **variables):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.path,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, *arguments, **variables):
        process = self.start(*arguments, **variables)
        stdout, stderr = process.communicate()
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def runs(self):
        return json.loads(self.done("runs", "list", "--json", "-").stdout)

    def processes(self):
        """Those of this folder's commands, by their environment."""
        return [
            process
            for process in psutil.process_iter()
            if _environment(process).get("HOME") == str(self.path)
            or _environment(process).get("TMPDIR", "").startswith(str(self.temporary))
        ]

    def left(self):
        """What still runs, and temporary files."""
        stand_in = f"disdel-{os.getuid()}"  # Of a home that cannot be used.
        names = {path.name for path in self.temporary.iterdir()} - {stand_in}
        return [*map(str, self.processes()), *names]


def _environment(process):
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def interrupt_at(process, moment_s, *numbers):
    """Send signals to a command so many seconds after its start, one after the other."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(moment_s)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.mark.parametrize("moment_s", MOMENTS)
def test_a_signal_at_any_moment_leaves_nothing(home, data_dir, moment_s):
    run = home.start(*TRAIN, DISDEL_DATA_DIR=str(data_dir))
    number = (signal.SIGTERM, signal.SIGHUP)[MOMENTS.index(moment_s) % 2]
    done = interrupt_at(run, moment_s, number)
    # Before the first line of disdel ran, Python itself ends.
    assert done.returncode in (130, -number)
    assert "Traceback" not in done.stderr
    wait_until_none(home.left)
    assert all(report["status"] == "interrupted" for report in home.runs())


@pytest.mark.parametrize("moment_s", MOMENTS[2:])
def test_a_killed_controller_leaves_what_stop_removes(home, servers, data_dir, moment_s):
    access, redis_url = servers
    place = {
        "DISDEL_APIHOST": access.apihost,
        "DISDEL_AUTH": access.auth,
        "DISDEL_REDIS": redis_url,
        "DISDEL_DATA_DIR": str(data_dir),
    }
    # One kill, or two signals of which the second interrupts the cleaning.
    numbers = [(signal.SIGKILL,), (signal.SIGTERM, signal.SIGTERM)][MOMENTS.index(moment_s) % 2]
    done = interrupt_at(home.start(*TRAIN, **place), moment_s, *numbers)
    assert "Traceback" not in done.stderr
    for report in home.runs():
        assert report["status"] in ("lost", "interrupted")
        stopped = home.done("stop", report["run"], **place)
        assert stopped.returncode == 0 or "has left nothing" in stopped.stderr
        assert not (home.path / "runs" / report["run"] / "controller.json").exists()
    wait_until_none(lambda: left_on(servers, home))
    wait_until_none(home.left)


def left_on(servers, home):
    """Packages, keys and users of this folder's runs."""
    access, redis_url = servers
    names = [path.name for path in (home.path / "runs").glob("*")]
    with redis.Redis.from_url(redis_url) as client:
        keys = [key for name in names for key in client.keys(f"disdel:{name}:*")]
        users = [f"disdel-{name}" for name in names if client.acl_getuser(f"disdel-{name}")]
    keys = [key for key in keys if not key.endswith(b":progress")]
    return keys + users + [name for name in names if f"disdel-{name}" in packages(access)]


def packages(access: ApiAccess):
    user, _, secret = access.auth.partition(":")
    url = f"{access.apihost}/api/v1/namespaces/_/packages?limit=0"
    return [entry["name"] for entry in local_http.get(url, auth=(user, secret)).json()]


def test_what_a_dead_platform_held_goes_with_it(home, data_dir):
    """`kill -9` of a shared platform under a run: stop, and the next start, have nothing to do."""
    variables = {"DISDEL_DATA_DIR": str(data_dir)}
    up = home.done("platform", "up", "--json", "-", **variables)
    try:
        with PrivateRedis() as server:
            server.ready()
            variables["DISDEL_REDIS"] = server.url
            held = until(home.path / "never", 2)
            run = home.start(*TRAIN, *held, "--patience-network", "1", **variables)
            wait_until(lambda: list((home.path / "runs").glob("*/progress.jsonl")))
            os.kill(json.loads(up.stdout)["pid"], signal.SIGKILL)
            _, said = run.communicate()
            assert run.returncode == 1
            assert "Traceback" not in said
            [report] = home.runs()
            assert report["status"] == "failed"
            assert home.done("stop", report["run"], **variables).returncode == 0
            with redis.Redis.from_url(server.url) as client:
                keys = [key for key in client.keys("disdel:*") if not key.endswith(b":progress")]
            assert keys == []
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISDEL_STATE_DIR", str(home.path / "state"))
            platform_down()
    # The next platform sweeps what the dead one has left.
    assert (
        home.done(
            "train",
            "digits",
            "--epochs",
            "1",
            *TRAIN[2:4],
            *TRAIN[6:],
            DISDEL_DATA_DIR=str(data_dir),
        ).returncode
        == 0
    )
    wait_until_none(home.left)


@pytest.fixture
def small(tmp_path):
    """A file system of 2 MB, of root's making."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=200", "none", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leave no room."""
    with (folder / "full").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", ["full", "read-only"])
@pytest.mark.parametrize(
    "variable", ["DISDEL_RUN_DIR", "DISDEL_STATE_DIR", "DISDEL_DATA_DIR", "TMPDIR", "HOME"]
)
def test_a_place_that_takes_nothing_is_told(home, data_dir, small, variable, fault):
    if fault == "full":
        fill(small)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    before = files_in(small)
    variables = {"DISDEL_DATA_DIR": str(data_dir), variable: str(small)}
    if variable == "HOME":
        del home.environment["DISDEL_STATE_DIR"]
    json_file = str(small / "report.json") if variable == "DISDEL_RUN_DIR" else str(home.path / "j")
    done = home.done(*TRAIN[:4], "--epochs", "1", *TRAIN[6:], "--json", json_file, **variables)
    if done.returncode:
        said = done.stderr.splitlines()[-1]
        assert str(small) in done.stderr, done.stderr
        assert said.startswith("disdel: ")
        assert done.returncode in (1, 2)
    assert files_in(small) == before
    wait_until_none(home.left)


def test_a_disk_that_fills_up_in_a_run_costs_it_nothing(
    servers, data_dir, small, monkeypatch, tmp_path
):
    from disdel.types.events import Noted, RoundDone, RunEnded

    monkeypatch.chdir(tmp_path)
    access, redis_url = servers
    notes, ends = [], []

    def listen(event):
        if isinstance(event, RoundDone) and event.report.round == 1:
            fill(small)
        if isinstance(event, Noted):
            notes.append(event.message)
        if isinstance(event, RunEnded):
            ends.append(event)

    report, _ = linear_job(access.apihost, access.auth, redis_url, data_dir, small, listen)
    assert report.status == "ok"
    assert Path(report.model).is_file()
    assert not report.model.startswith(str(small))
    assert any(report.model in note for note in notes)
    assert any("was not saved for --resume" in note for note in notes)
    [end] = ends
    assert read_report(Path(end.elsewhere)).status == "ok"


@pytest.fixture
def stranger(tmp_path):
    """A user without a home or a name, and a Python that he can run."""
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    python = Path("/usr/bin/python3")
    site = Path(redis.__file__).parents[1]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(tempfile.mkdtemp(prefix="disdel-stranger-"))
    folder.chmod(0o777)
    made = subprocess.run(
        [str(python), "-m", "venv", "--without-pip", str(folder / "venv")],
        capture_output=True,
        check=False,
    )
    packages_folder = folder / "venv" / "lib" / f"python{version}" / "site-packages"
    if made.returncode or not packages_folder.is_dir():
        pytest.skip(f"the system has no Python {version} of its own")
    (packages_folder / "disdel.pth").write_text(f"{site}\n{ROOT}\n")

    def run(*arguments, **variables):
        return subprocess.run(
            [str(folder / "venv/bin/python"), "-m", *arguments],
            cwd=folder,
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **variables},
            user=54321,
            group=54321,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        if run("disdel", "--version").returncode:
            pytest.skip("another user cannot read what is installed here")
        yield run, folder
    finally:
        subprocess.run(["rm", "-rf", str(folder), "/tmp/disdel-54321"], check=True)


def test_a_user_without_home_or_name_trains(stranger):
    run, folder = stranger
    done = run("tests.support.linear", *TRAIN[:4], "--epochs", "1", *TRAIN[6:])
    assert done.returncode == 0, done.stderr
    assert "/tmp/disdel-54321/" in done.stderr
    [path] = (folder / "runs").iterdir()
    assert (path / "report.json").is_file()


@pytest.fixture
def open_home():
    """One that others may read; from its own folders pytest shuts them out whenever it starts."""
    with tempfile.TemporaryDirectory(prefix="disdel-home-") as folder:
        Path(folder).chmod(0o755)
        yield Home(Path(folder))


def test_another_user_s_run_is_neither_disturbed_nor_read(stranger, open_home, data_dir):
    run, home = stranger[0], open_home
    own = home.start(*TRAIN, *until(home.path / "never", 2), DISDEL_DATA_DIR=str(data_dir))
    try:
        wait_until(lambda: list((home.path / "runs").glob("*/progress.jsonl")))
        [path] = (home.path / "runs").iterdir()
        place = ("--run-dir", str(home.path / "runs"))
        assert "running" in run("disdel", "runs", "list", *place).stdout
        for command in (
            ("stop", path.name),
            ("train", "--resume", path.name),
            ("runs", "prune", "--keep", "0"),
        ):
            done = run("disdel", *command, *place)
            assert "Traceback" not in done.stderr
            assert done.returncode in (0, 1, 2)
        assert path.is_dir()
        assert own.poll() is None
    finally:
        own.send_signal(signal.SIGTERM)
        own.communicate()
    assert own.returncode == 130
    wait_until_none(home.left)
