"""A run that goes on from its folder: it ends as if it had never been interrupted."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from disdel.controller.runs.progress import Progress, ProgressFiles
from disdel.controller.runs.run_folder import RunFolder, run_folders
from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import Resumed, changed_files, read_resumed
from disdel.errors import ActivationFailed, UsageError
from disdel.types import TrainJob, Validation
from disdel.types.events import Noted, RoundStarted
from tests.support.arithmetic import scores
from tests.support.fake_platform import activation


def fail_in(arithmetic, number):
    arithmetic.hooks[1, number] = lambda request: activation(
        77, "train", {"error": {"kind": "store", "message": "the shard cannot be read"}}
    )


@pytest.mark.parametrize("failing", [1, 2, 4])
@pytest.mark.parametrize(
    "job",
    [{}, {"optimizer_state": "local", "sync": 13}, {"validation": Validation(patience=2)}],
)
def test_a_run_goes_on_where_it_was_interrupted(run, arithmetic, failing, job):
    arithmetic.loss_of = lambda weight: abs(3.2 - weight)
    whole, _ = run(epochs=5, **job)
    fail_in(arithmetic, failing)
    with pytest.raises(ActivationFailed):
        run(epochs=5, **job)
    [folder] = [folder for folder in run_folders(run.run_dir) if not folder.is_complete]
    arithmetic.hooks.clear()
    arithmetic.own_rounds.clear()
    run.events.clear()
    report, resumed_folder = run(resumed=folder)
    assert resumed_folder == folder
    assert report.resumed_after == (failing - 1 or None)
    started = [event.round for event in run.events if isinstance(event, RoundStarted)]
    assert started == list(range(failing, len(whole.rounds) + 1))
    assert report.ledger == whole.ledger
    assert scores(report) == scores(whole)
    assert (report.model_round, report.stopped) == (whole.model_round, whole.stopped)
    assert all(counted == number for (_, number), counted in arithmetic.own_rounds.items())
    # Each controller starts a container for its averages.
    assert len(report.activations) == len(whole.activations) + (failing > 1)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def make_endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("damage", "told"),
    [(flip, "its checksum differs"), (truncate, "its checksum differs"), (make_endless, "no file")],
)
@pytest.mark.parametrize("name", ["state-2.safetensors", "optimizer-2-0.safetensors"])
def test_damaged_tensors_are_not_gone_on_from(run, arithmetic, damage, told, name):
    fail_in(arithmetic, 3)
    with pytest.raises(ActivationFailed):
        run(epochs=4, optimizer_state="local")
    [folder] = run_folders(run.run_dir)
    damage(folder.path / "checkpoint" / name)
    arithmetic.hooks.clear()
    with pytest.raises(UsageError, match=f"{name} is .*{told}"):
        run(resumed=folder)


@pytest.mark.parametrize("damage", [flip, shutil.rmtree], ids=["damaged", "missing"])
def test_what_is_not_whole_is_told_before_servers_are_started(run, arithmetic, damage):
    fail_in(arithmetic, 3)
    with pytest.raises(ActivationFailed):
        run(epochs=4)
    [folder] = run_folders(run.run_dir)
    state = folder.path / "checkpoint" / "state-2.safetensors"
    damage(state.parent if damage is shutil.rmtree else state)
    # Where round 2 was saved before its score, the last scored state is kept beside its own.
    with pytest.raises(UsageError, match=f"{folder.run} cannot be resumed: .*{state.parent}/state"):
        read_resumed(folder)


@pytest.mark.parametrize("full", ["_write_tensors", "_append"])
def test_a_round_that_is_saved_late_is_not_lost(run, arithmetic, monkeypatch, full):
    whole, _ = run(epochs=5)
    fail_in(arithmetic, 4)
    write, calls = getattr(ProgressFiles, full), []

    def fail_once(files, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(files, *arguments)

    monkeypatch.setattr(ProgressFiles, full, fail_once)
    with pytest.raises(ActivationFailed):
        run(epochs=5)
    [folder] = [folder for folder in run_folders(run.run_dir) if not folder.is_complete]
    arithmetic.hooks.clear()
    report, _ = run(resumed=folder)
    assert report.resumed_after == 3
    assert report.ledger == whole.ledger


def test_lines_that_do_not_fit_leave_no_half(run, monkeypatch):
    _, folder = run(epochs=1)
    files = ProgressFiles(folder)
    before = files.read()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files._append("half of a li")
    assert files.read() == before


def test_more_epochs_for_a_complete_run(run, arithmetic):
    whole, _ = run(epochs=5)
    _, folder = run(epochs=2)
    with pytest.raises(UsageError, match="is complete; more --epochs than 2 would go on"):
        run(resumed=folder)
    with pytest.raises(UsageError, match="--epochs 1 would be fewer"):
        run(resumed=folder, epochs=1)
    report, _ = run(resumed=folder, epochs=5)
    assert report.ledger == whole.ledger
    assert report.resumed_after == 2


def test_a_run_that_would_end_at_once_is_refused_before_a_platform_is_up(
    run, arithmetic, monkeypatch
):
    arithmetic.loss_of = lambda weight: abs(3.2 - weight)
    ended, folder = run(epochs=9, validation=Validation(patience=1))
    assert ended.stopped
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "open_session", None)
        told = f"{folder.run} is complete, and would end again at once: {ended.stopped}"
        with pytest.raises(UsageError, match=told):
            run(resumed=folder, epochs=12)
    # One that lacks its model still gets it.
    folder.write_report(replace(folder.read_report(), status="failed"))
    report, _ = run(resumed=folder)
    assert (report.stopped, len(report.rounds)) == (ended.stopped, len(ended.rounds))
    told = f"there is no further round: {ended.stopped}"
    assert told in [event.message for event in run.events if isinstance(event, Noted)]


def test_a_run_that_lacks_only_its_model_gets_it(run, arithmetic, platform):
    _, folder = run(epochs=2)
    folder.model.unlink()
    folder.write_report(replace(folder.read_report(), status="failed"))
    platform.invoked.clear()
    arithmetic.hooks = {}
    staged = []
    score = arithmetic.score

    def look(arguments):
        staged.append(arithmetic.store.open(arguments["shard_key"]) is not None)
        return score(arguments)

    arithmetic.score = look
    report, _ = run(resumed=folder)
    assert [arguments["task"] for _, arguments in platform.invoked] == ["score"]
    assert staged == [True]
    assert (report.status, report.resumed_after) == ("ok", 2)
    assert folder.model.is_file()


def test_a_run_that_ended_with_a_shorter_round_cannot_be_longer(run):
    _, folder = run(epochs=2, sync=5)
    with pytest.raises(UsageError, match="its last round was the end of its training"):
        run(resumed=folder, epochs=4)


def test_a_run_does_not_go_on_with_other_samples_of_the_same_counts(run, arithmetic):
    fail_in(arithmetic, 3)
    with pytest.raises(ActivationFailed):
        run(epochs=4)
    [folder] = run_folders(run.run_dir)
    progress = folder.path / "progress.jsonl"
    head, *rounds = progress.read_text().splitlines(keepends=True)
    begun = json.loads(head)
    assert len(begun["dataset_digest"]) == 32
    progress.write_text("".join([json.dumps(begun | {"dataset_digest": "0" * 32}) + "\n", *rounds]))
    arithmetic.hooks.clear()
    with pytest.raises(UsageError, match=r"begun on other samples of digits .*checksum 00000000"):
        run(resumed=folder)
    progress.write_text("".join([head, *rounds]))
    assert run(resumed=folder)[0].resumed_after == 2


def test_a_run_does_not_go_on_with_samples_dealt_in_another_way(run, arithmetic, tmp_path):
    deal = tmp_path / "deal.py"
    text = "def deal(samples, clients):\n    return [i % clients for i in range(samples)]\n"
    deal.write_text(text)
    fail_in(arithmetic, 3)
    with pytest.raises(ActivationFailed):
        run(epochs=4, clients=2, partition=f"{deal}:deal")
    [folder] = run_folders(run.run_dir)
    arithmetic.hooks.clear()
    deal.write_text(text.replace("i % clients", "i // 10 % clients"))
    with pytest.raises(UsageError, match=r"another way than --partition .*deal.py:deal deals them"):
        run(resumed=folder)
    deal.write_text(text)
    assert run(resumed=folder)[0].resumed_after == 2


def test_other_files_that_a_run_goes_by_are_told_where_they_have_changed():
    def progress(**digests):
        return Progress(
            job=TrainJob(dataset="digits"),
            dataset=("1", 1, 1, 1),
            dataset_digest="",
            planned_rounds=3,
            file_digests=digests,
        )

    resumed = Resumed(RunFolder(Path("runs/a")), progress(trace="1", data="1"))
    [told] = changed_files(resumed, progress(trace="2", data="1", new="1"))
    assert told.startswith("trace has changed since run a began")


def test_only_complete_lines_count(run, arithmetic):
    fail_in(arithmetic, 3)
    with pytest.raises(ActivationFailed):
        run(epochs=4)
    [folder] = run_folders(run.run_dir)
    with (folder.path / "progress.jsonl").open("a") as file:
        file.write('{"report": {"rou')
    (folder.path / "checkpoint" / "state-3.safetensors").write_bytes(b"half")
    arithmetic.hooks.clear()
    report, _ = run(resumed=folder)
    assert report.resumed_after == 2
    assert [entry.loss for entry in report.rounds] == [8.5, 7.0, 5.5, 4.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"version": 1}\n', "is of version 1, and this disdel goes on from version 2"),
        ("nonsense\n", "cannot be read"),
        (None, "train anew"),
    ],
)
def test_progress_that_is_none(run, text, told):
    _, folder = run(epochs=1)
    (folder.path / "progress.jsonl").unlink()
    if text is not None:
        (folder.path / "progress.jsonl").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_resumed(folder)


def test_a_run_that_goes_on_says_so(run):
    seen = []

    def look(event):
        if isinstance(event, RoundStarted):
            [folder] = run_folders(run.run_dir)
            seen.append((folder.is_running, folder.read_report().status))
            with pytest.raises(UsageError, match="is still running; disdel stop"):
                read_resumed(folder)

    run.listeners.append(look)
    _, folder = run(epochs=1)
    assert seen == [(True, "running")]
    assert not folder.is_running
