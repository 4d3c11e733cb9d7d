"""The end of a run: its error, and what is left in its folder, on the platform and in the store."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from disdel.controller.runs import rescue, run_folder
from disdel.errors import (
    ActivationFailed,
    AggregationError,
    HostFailed,
    TrainingDiverged,
    UsageError,
)
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.settings import Settings
from disdel.types import Limits
from disdel.types.events import Noted, RoundDone
from tests.support.fake_platform import activation


def failing(kind, message):
    return lambda request: activation(77, "train", {"error": {"kind": kind, "message": message}})


def test_a_failing_worker_ends_the_run_and_leaves_a_report(run, arithmetic, platform):
    arithmetic.hooks[1, 2] = failing("store", "no such blob")
    with pytest.raises(ActivationFailed, match="no such blob") as failed:
        run(epochs=3)
    assert failed.value.activation_id == f"{77:032x}"
    [folder] = run.run_dir.iterdir()
    saved = json.loads((folder / "report.json").read_text())
    assert saved["status"] == "failed"
    assert saved["error"]["kind"] == "activation"
    assert len(saved["rounds"]) == 1
    assert saved["totals"]["failed"] == 1
    assert (folder / "logs" / f"worker-1-{77:032x}.log").read_text().startswith("stdout")
    assert platform.packages == {}


def test_a_run_that_diverges_leaves_the_last_good_model(run, arithmetic):
    arithmetic.hooks[1, 3] = failing("diverged", "the loss became nan in round 3 on worker 1")
    with pytest.raises(TrainingDiverged) as failed:
        run(epochs=4)
    [folder] = run.run_dir.iterdir()
    assert (folder / "last_good.keras").read_bytes() == b"a model file"
    assert not (folder / "model.keras").exists()
    said = str(failed.value)
    assert said.startswith("the loss became nan in round 3 on worker 1. The model of round 2, ")
    assert str(folder / "last_good.keras") in said
    assert json.loads((folder / "report.json").read_text())["error"]["kind"] == "diverged"


def test_a_run_that_diverges_at_once_says_that_there_is_no_model(run, arithmetic):
    arithmetic.hooks[1, 1] = failing("diverged", "the loss became nan in round 1 on worker 1")
    with pytest.raises(TrainingDiverged, match="No round had been scored"):
        run(epochs=2)
    [folder] = run.run_dir.iterdir()
    assert not (folder / "last_good.keras").exists()


def test_a_lost_part_is_no_quieter_average(run, arithmetic):
    def lose_update(request):
        return messages.to_json(
            messages.TrainReply(
                outcome="ok", next_step=12, samples=719, loss_sum=1.0, train_s=0.1, peak_mb=1
            )
        )

    arithmetic.hooks[0, 1] = lose_update
    with pytest.raises(AggregationError, match="the update of client 0 is missing"):
        run(epochs=1)


@pytest.fixture
def interruptible():
    """Interrupts are heard, also where who runs the tests ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_removes_what_it_created(run, arithmetic, platform):
    def interrupt(request):
        os.kill(os.getpid(), signal.SIGINT)

    arithmetic.hooks[0, 2] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(epochs=3)
    assert platform.packages == {}
    [folder] = run.run_dir.iterdir()
    assert json.loads((folder / "report.json").read_text())["status"] == "interrupted"


def test_keep_leaves_package_and_weights(run, arithmetic, platform, tmp_path):
    _, folder = run(Settings(run_dir=tmp_path / "runs", keep=True), epochs=1)
    assert list(platform.packages) == [f"disdel-{folder.run}"]
    [keys] = {parameters["run"] for parameters in platform.packages.values()}
    assert arithmetic.store.open(RunKeys(keys).state(1)) is not None
    assert any(isinstance(event, Noted) for event in run.events)
    arithmetic.store.delete_prefix(f"disdel:{folder.run}:")


def test_nothing_of_a_run_stays_in_the_store(run, arithmetic):
    _, folder = run(epochs=1)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_what_was_trained_is_kept_where_its_folder_has_gone(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def remove(event):
        if isinstance(event, RoundDone) and event.report.round == 2:
            [folder] = run.run_dir.iterdir()
            shutil.rmtree(folder)

    run.listeners.append(remove)
    report, folder = run(epochs=3)
    notes = [event.message for event in run.events if isinstance(event, Noted)]
    assert report.status == "ok"
    assert Path(report.model).read_bytes() == b"a model file"
    assert any(f"the model is in {report.model}" in note for note in notes)
    [saved] = tmp_path.glob(f"disdel-{folder.run}-*/report.json")
    assert any(f"the report is in {saved}" in note for note in notes)
    assert json.loads(saved.read_text())["model"] == report.model


def test_a_run_that_finds_no_place_at_all_says_so(run, monkeypatch, platform):
    def remove(event):
        if isinstance(event, RoundDone):
            [folder] = run.run_dir.iterdir()
            shutil.rmtree(folder)

    monkeypatch.setattr(rescue, "_places", lambda: [Path("/dev/null")])
    run.listeners.append(remove)
    with pytest.raises(HostFailed, match=r"model\.keras cannot be written .*, nor any other place"):
        run(epochs=1)
    assert platform.packages == {}


def test_a_full_disk_is_told_before_anything_is_run(run, monkeypatch, platform):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run_folder, "write_whole", full)
    with pytest.raises(
        UsageError, match=r"No space left on device\); name another place with --run-dir"
    ):
        run(epochs=1)
    assert list(run.run_dir.iterdir()) == []
    assert platform.invoked == []


def test_a_plan_that_does_not_fit_leaves_no_folder(run, tmp_path):
    from disdel.errors import InsufficientMemory

    settings = Settings(run_dir=tmp_path / "runs", limits=Limits(memory_max_mb=128))
    with pytest.raises(InsufficientMemory):
        run(settings)
    assert not run.run_dir.exists()
