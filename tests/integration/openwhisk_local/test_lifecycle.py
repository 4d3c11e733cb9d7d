"""The beginning and the end of a platform; nothing is left behind."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from disdel.errors import PlatformError, UsageError
from disdel.platforms.embedded import finding, launching
from disdel.platforms.embedded.launching import EmbeddedPlatform, start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from openwhisk_local.records import read_records
from tests.support import local_http
from tests.support.embedded import (
    WAIT,
    assert_nothing_left,
    containers,
    platform,
    proxies,
    running,
    user_of,
)
from tests.support.waiting import wait_until, wait_until_none


def test_a_platform_that_is_killed_takes_its_containers_with_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start_embedded(EmbeddedOptions(state_dir=state, user_memory_mb=512)) as started:
        with user_of(started.access, state) as user:
            user.put("wait", WAIT)
            mark = tmp_path / "mark"
            user.start("wait", until=str(tmp_path / "never"), started=str(mark))
            wait_until(mark.exists)
            # A process that left its container's session is found by its namespace, its cgroup
            # or its mark.
            user.put("escape", _ESCAPE)
            user.invoke("escape", command=["sleep", "600"])
            assert len(proxies(user.record)) == 2
            os.kill(user.record.pid, signal.SIGKILL)
        wait_until_none(lambda: proxies(user.record))
    assert all(Path(cgroup).exists() for cgroup in user.record.cgroups)
    with platform(state):
        assert not containers(user.record)
        assert not any(Path(cgroup).exists() for cgroup in user.record.cgroups)
        assert not Path(user.record.folder).exists()


_ESCAPE = (
    "import subprocess\n"
    "def main(args): subprocess.Popen(args['command'], start_new_session=True); return {}\n"
)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("enforcement", ["auto", "sampling"])
def test_what_escapes_its_container_ends_with_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enforcement: str, isolated: bool
) -> None:
    if not isolated:
        # No namespaces without `unshare`.
        for command in ("env", "setsid", "sh", "sleep"):
            (tmp_path / command).symlink_to(shutil.which(command) or "nowhere")
        monkeypatch.setenv("PATH", str(tmp_path))
    # It forgets its environment, its session and its parent.
    forgets = ["env", "-i", "setsid", "sh", "-c", "sleep 600 & sleep 600", str(tmp_path)]
    with platform(tmp_path / "state", enforcement=enforcement) as user:
        assert isolated or user.record.isolation == "process groups"
        user.put("escape", _ESCAPE)
        user.invoke("escape", command=["sh", "-c", '"$@" & sleep 0.2', "sh", *forgets])
        assert running(str(tmp_path))
    assert not running(str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    state = tmp_path / "state"
    with start_embedded(EmbeddedOptions(state_dir=state, user_memory_mb=256)) as started:
        with user_of(started.access, state) as user:
            user.put("wait", WAIT)
            mark = tmp_path / "mark"
            with concurrent.futures.ThreadPoolExecutor(1) as threads:
                never = str(tmp_path / "never")
                waiting = threads.submit(user.invoke, "wait", until=never, started=str(mark))
                wait_until(mark.exists)
                os.kill(user.record.pid, number)
                assert waiting.result().status_code == 502
        wait_until(lambda: not user.record.alive)
        assert_nothing_left(user.record, state)


def test_the_end_of_its_input_ends_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    started: EmbeddedPlatform = start_embedded(EmbeddedOptions(state_dir=state))
    with user_of(started.access, state) as user:
        user.put("echo")
        assert user.invoke("echo").status_code == 200
        started.close()
        started.close()
        assert_nothing_left(user.record, state)


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (
        platform(state) as user,
        pytest.raises(PlatformError, match="Address already in use; choose another port"),
    ):
        start_embedded(EmbeddedOptions(state_dir=tmp_path / "other", port=user.record.port))


def test_up_status_and_down(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert finding.find_running(state) is None
    assert finding.platform_down(state) is None
    options = EmbeddedOptions(state_dir=state, limits="stock", user_memory_mb=300)
    up = launching.platform_up(options)
    try:
        assert finding.find_running(state) == up.access
        assert finding.platform_status(state) == up
        assert (up.limits, up.user_memory_mb) == ("stock", 300)
        with pytest.raises(UsageError, match="already running"):
            launching.platform_up(options)
        # One that belongs to a command is not for others to find.
        with platform_beside(state) as private:
            assert finding.find_running(state) == up.access
            assert private.access != up.access
        with user_of(up.access, state) as user:
            user.put("echo")
            assert user.invoke("echo").status_code == 200
    finally:
        assert finding.platform_down(state) == up
    assert_nothing_left(user.record, state)


def test_of_several_that_start_at_once_one_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = EmbeddedOptions(state_dir=state, user_memory_mb=256)

    def up(_: int) -> object:
        try:
            return launching.platform_up(options)
        except UsageError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        outcomes = [*threads.map(up, range(3))]
    try:
        [running] = [each for each in outcomes if not isinstance(each, str)]
        assert finding.platform_status(state) == running
        refusals = [each for each in outcomes if isinstance(each, str)]
        assert all(f"already running at {running.access.apihost}" in said for said in refusals)
    finally:
        finding.platform_down(state)
    assert not any((state / "platforms").iterdir())


def test_a_platform_of_another_pid_namespace_is_left_alone(tmp_path: Path) -> None:
    """As when a home is mounted into a container."""
    state = tmp_path / "state"
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    code = (
        "import sys\n"
        "from disdel.platforms.embedded.launching import start_embedded\n"
        "from disdel.platforms.embedded.options import EmbeddedOptions\n"
        "from pathlib import Path\n"
        "options = EmbeddedOptions(state_dir=Path(sys.argv[1]), user_memory_mb=256)\n"
        "with start_embedded(options, shared=True) as platform:\n"
        "    print(platform.access.apihost, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [*apart, sys.executable, "-c", code, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        apihost = other.stdout.readline().strip()
        # A start sweeps, and must neither remove nor use what it cannot see.
        with platform_beside(state):
            [record] = [r for r in read_records(state) if r.apihost == apihost]
            assert not record.alive
            assert Path(record.folder).exists()
        assert finding.find_running(state) is None
        assert finding.platform_down(state) is None
        with pytest.raises(UsageError, match="runs elsewhere: process"):
            launching.platform_up(EmbeddedOptions(state_dir=state))
        assert local_http.get(f"{apihost}/ping").text == "pong"
        other.stdin.close()
    assert not Path(record.folder).exists()
    assert finding.platforms_elsewhere(state) == []


@contextlib.contextmanager
def platform_beside(state: Path) -> Iterator[EmbeddedPlatform]:
    with start_embedded(EmbeddedOptions(state_dir=state)) as started:
        yield started


def test_the_command_prints_how_to_connect(tmp_path: Path) -> None:

    command = [sys.executable, "-m", "openwhisk_local", "--stop-on-eof", "--user-memory=200"]
    command.append(f"--state-dir={tmp_path / 'state'}")
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    facts = json.loads(said.stdout)
    assert facts["apihost"] == f"http://127.0.0.1:{facts['port']}"
    assert len(facts["auth"].partition(":")[2]) == 64
    assert facts["user_memory_mb"] == 200
    assert facts["limits"] == "roomy"
    assert not any((tmp_path / "state" / "platforms").iterdir())
