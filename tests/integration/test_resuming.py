"""Runs that are killed, stopped and resumed, and runs at the same time, on one real platform."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from disdel.store.private_redis import PrivateRedis
from tests.support.held import until
from tests.support.waiting import wait_until, wait_until_none

pytestmark = pytest.mark.framework

JOBS = {
    "one": "--workers 1 --batch 128 --seed 3",
    "two": "--workers 2 --batch 32 --optimizer-state local --schedule cosine --warmup 5",
}


def end(process):
    """Wait for a command, and what it has said."""
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a platform and a Redis that outlive the runs."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, PrivateRedis() as server:
        server.ready()
        patch.setenv("DISDEL_STATE_DIR", str(folder / "state"))
        patch.setenv("DISDEL_DATA_DIR", str(folder / "data"))
        patch.setenv("WSK_CONFIG_FILE", str(folder / "wskprops"))
        environment = {**os.environ, "DISDEL_REDIS": server.url, "PYTHONPATH": str(Path.cwd())}

        def start(*arguments, module="disdel"):
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        assert end(start("platform", "up")).returncode == 0
        try:
            yield start, folder, server.url
        finally:
            assert end(start("platform", "down")).returncode == 0


@pytest.fixture
def endless(home):
    """A training that will not end by itself, and its run folder."""
    _, folder, _ = home
    run = trained(home, "one", "--epochs", "5000")
    try:
        wait_until(lambda: rounds_done(folder, "one"))
        [path] = (folder / "one").iterdir()
        yield run, path
    finally:
        run.kill()
        end(run)
    clear(home, "one")


def trained(home, job, *more, module="disdel"):
    """Start a training into a run directory of its name."""
    start, _, _ = home
    given = ("--epochs", "8", "--run-dir", job, *JOBS[job].split(), *more)
    # The framework that starts fastest; by default it is chosen by what was measured until then.
    return start("train", "digits", "--quiet", "--runtime", "torch", *given, module=module)


def outcome(home, job):
    """What decides that two trainings are the same, bit for bit."""
    _, folder, _ = home
    [path] = (folder / job).iterdir()
    report = json.loads((path / "report.json").read_text())
    assert report["status"] == "ok"
    scores = [(entry["loss"], entry["accuracy"]) for entry in report["rounds"]]
    return scores, [(e["round"], e["worker"], e["checksum"]) for e in report["ledger"]]


@pytest.fixture(scope="module")
def alone(home):
    """What each job comes to when nothing disturbs it."""
    outcomes = {}
    for job in JOBS:
        done = end(trained(home, job))
        assert done.returncode == 0, done.stderr
        outcomes[job] = outcome(home, job)
        clear(home, job)
    return outcomes


def clear(home, job):
    _, folder, _ = home
    (folder / job).rename(folder / f"{job}-{len(list(folder.iterdir()))}")


def rounds_done(folder, job):
    """Complete rounds of the run in a directory that has at most one."""
    for path in (folder / job).glob("*/progress.jsonl"):
        return path.read_bytes().count(b"\n") - 1
    return 0


def keys_left(redis_url):
    """The keys of runs, but for the lines in which late activations speak of themselves."""
    with redis.Redis.from_url(redis_url) as client:
        return [key for key in client.keys("disdel:*") if not key.endswith(b":progress")]


def test_runs_at_the_same_time_do_not_disturb_each_other(home, alone):
    runs = [trained(home, job) for job in JOBS]
    assert [end(run).returncode for run in runs] == [0, 0]
    for job in JOBS:
        assert outcome(home, job) == alone[job]
        clear(home, job)
    assert keys_left(home[2]) == []


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_run_is_resumed_as_if_nothing_had_happened(home, alone, job):
    start, folder, redis_url = home
    go = folder / f"{job}-go"
    run = trained(home, job, *until(go, 3), module="tests.support.held")
    wait_until(lambda: rounds_done(folder, job))
    run.kill()
    end(run)
    go.touch()
    [path] = (folder / job).iterdir()
    assert json.loads((path / "report.json").read_text())["status"] == "running"
    assert "lost" in end(start("runs", "list", "--run-dir", job)).stdout
    if job == "two":
        stopped = end(start("stop", path.name, "--run-dir", job))
        assert "was dead; removed what it had left" in stopped.stdout
        wait_until_none(lambda: keys_left(redis_url))
        assert json.loads((path / "report.json").read_text())["status"] == "lost"
    resume = ("train", "--resume", path.name, "--run-dir", job)
    refused = end(start(*resume, "--batch", "64"))
    assert "--batch is 64, and" in refused.stderr
    assert refused.returncode == 2
    twice = [start(*resume, "--epochs", "8") for _ in range(2)]
    done, late = sorted((end(run) for run in twice), key=lambda run: run.returncode)
    assert done.returncode == 0, done.stderr
    assert late.returncode == 2
    assert "is still running" in late.stderr or "is complete" in late.stderr
    assert outcome(home, job) == alone[job]
    assert json.loads((path / "report.json").read_text())["resumed_after"] in range(1, 8)
    clear(home, job)


def test_a_run_that_is_stopped_cleans_up(home, endless):
    start, _, redis_url = home
    run, path = endless
    stop = ("stop", path.name[-4:], "--run-dir", "one")
    assert end(start(*stop)).stdout == f"stopped {path.name}\n"
    assert json.loads((path / "report.json").read_text())["error"]["kind"] == "interrupted"
    # An activation that is under way notices by itself that nobody waits for it.
    wait_until_none(lambda: keys_left(redis_url))
    done = end(run)
    assert done.returncode == 130
    assert re.fullmatch(
        rf"note +disdel train --resume {path.name} --run-dir one continues it after round \d+\n"
        "disdel: interrupted\n",
        done.stderr,
    )
    assert "is not running" in end(start(*stop)).stderr
