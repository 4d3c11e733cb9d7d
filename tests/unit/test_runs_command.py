"""`disdel runs compare|prune` and `disdel stop`, on folders without a platform."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.controller.report_json import report_to_json
from disdel.controller.run_folder import create_run_folder
from disdel.controller.running import announced, interrupt, read_controller
from disdel.errors import DisdelError, UsageError
from disdel.types import RunReport


@pytest.fixture
def disdel(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_RUN_DIR", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def ended(run_dir, *, status="ok", age_days=0.0, accuracy=0.9, **settings):
    folder = create_run_folder(run_dir, "train", "digits")
    report = RunReport(
        run=folder.run,
        job="train",
        dataset="digits",
        platform="embedded",
        status=status,
        settings={"batch": 64, "seed": 0} | settings,
        wall_s=1.5,
        accuracy=accuracy,
    )
    folder.write_report(report_to_json(report))
    written_s = time.time() - age_days * 86_400
    os.utime(folder.report, (written_s, written_s))
    return folder


def record_dead_controller(folder):
    """The record of a controller that was killed."""
    record = {"pid": os.getpid(), "created": 1.0, "interruptible": True, "insecure": False}
    text = json.dumps(record | {"apihost": None, "redis": None})
    (folder.path / "controller.json").write_text(text)


def test_runs_side_by_side(disdel, tmp_path):
    one, two = ended(tmp_path, seed=1), ended(tmp_path, seed=2, accuracy=None, optimizer="sgd")
    table = disdel("runs", "compare", one.run, two.run).stdout
    lines = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert lines["accuracy"] == ["0.9", "-"]
    assert lines["seed"] == ["1", "2"]
    assert lines["optimizer"] == ["-", "sgd"]
    assert "batch" not in lines
    written = json.loads(disdel("runs", "compare", one.run, two.run, "--json", "-").stdout)
    assert [column["settings"] for column in written] == [
        {"seed": 1, "optimizer": None},
        {"seed": 2, "optimizer": "sgd"},
    ]
    with pytest.raises(UsageError, match="at least two"):
        raise disdel("runs", "compare", one.run).exception


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--keep", "1"), {"new"}),
        (("--failed",), {"new", "old"}),
        (("--older-than", "5"), {"new", "failed"}),
        (("--older-than", "2", "--failed"), {"new", "old"}),
        (("--keep", "0"), set()),
        (("--keep", "3"), {"new", "old", "failed"}),
    ],
)
def test_pruning(disdel, tmp_path, arguments, left):
    folders = {
        "old": ended(tmp_path, age_days=9),
        "failed": ended(tmp_path, status="failed", age_days=3),
        "new": ended(tmp_path),
    }
    for place, (name, folder) in enumerate(list(folders.items())):
        # Ids sort by time; these were made within one second.
        path = folder.path.with_name(f"2026010{place}-train")
        folder.path.rename(path)
        folders[name] = path
    done = disdel("runs", "prune", *arguments)
    assert done.exit_code == 0
    assert {name for name, path in folders.items() if path.exists()} == left
    assert len(done.stdout.splitlines()) == 3 - len(left)


def test_pruning_wants_to_know_which(disdel, tmp_path):
    folder = ended(tmp_path)
    with pytest.raises(UsageError, match="say which runs"):
        raise disdel("runs", "prune").exception
    assert folder.path.exists()


def test_a_run_that_goes_on_is_not_pruned(disdel, tmp_path):
    folder = ended(tmp_path, status="running")
    record_dead_controller(folder)
    live = json.loads((folder.path / "controller.json").read_text())
    live["created"] = psutil.Process().create_time()
    (folder.path / "controller.json").write_text(json.dumps(live))
    assert disdel("runs", "prune", "--keep", "0").stdout == ""
    assert "running" in disdel("runs", "list").stdout


def test_a_run_whose_controller_was_killed_is_failed_and_can_be_stopped(disdel, tmp_path):
    folder = ended(tmp_path, status="running")
    record_dead_controller(folder)
    assert folder.read_report()["error"]["kind"] == "killed"
    assert "was dead" in disdel("stop", folder.run).stdout
    assert json.loads(folder.report.read_text())["status"] == "failed"
    with pytest.raises(UsageError, match="is not running"):
        raise disdel("stop", folder.run).exception


_RUN = """
import asyncio, contextlib, pathlib, sys
from disdel.controller.running import announced

async def run():
    with announced(pathlib.Path("."), apihost=None, insecure=False, redis="redis://:secret@h"):
        print("up", flush=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pathlib.Path("interrupted").touch()

asyncio.run(run())
"""


def test_a_live_controller_is_interrupted(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], cwd=tmp_path, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        record = read_controller(tmp_path)
        assert record.alive
        assert (tmp_path / "controller.json").stat().st_mode & 0o077 == 0
        interrupt(tmp_path, record)
        assert (tmp_path / "interrupted").is_file()
        assert read_controller(tmp_path) is None
    assert process.returncode == 0


def test_a_run_in_a_thread_is_not_interrupted_from_outside(tmp_path):
    def body():
        with announced(tmp_path, apihost=None, insecure=False, redis=None):
            records.append(read_controller(tmp_path))

    records = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    with pytest.raises(DisdelError, match="interrupt it there"):
        interrupt(tmp_path, records[0])
