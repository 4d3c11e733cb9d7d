"""Workers that vanish, outgrow their memory or are late, and what that changes of the result."""

import json
import threading

import pytest

from disdel.controller.invoking.recovery import MAX_LOSSES
from disdel.controller.training import speculation
from disdel.errors import ActivationFailed
from disdel.types.events import ActivationEnded, Noted, RoundDone, RoundStarted, RunEnded
from tests.support.arithmetic import scores
from tests.support.fake_platform import activation


def vanished(number, text="The action did not produce a valid response and exited unexpectedly."):
    return activation(number, "train", {"error": text}, status="action developer error")


def test_lost_containers_change_no_number(run, arithmetic):
    whole, _ = run(epochs=3)
    lost = []

    def vanish_twice(request):
        if len(lost) < 2:
            lost.append(request.attempt)
            return vanished(900 + len(lost))
        return None

    arithmetic.hooks[0, 2] = vanish_twice
    disturbed, _ = run(epochs=3)
    assert lost == [0, 1]
    assert scores(disturbed)[-1] == scores(whole)[-1]
    assert disturbed.totals.failed == disturbed.totals.restarted == 2
    entries = [(e.round, e.worker, e.samples, e.checksum) for e in disturbed.ledger]
    assert entries == [(e.round, e.worker, e.samples, e.checksum) for e in whole.ledger]
    assert [e.attempt for e in disturbed.ledger] == [0, 0, 2, 0, 0, 0]


def test_workers_keep_their_own_optimizers_whatever_is_lost(run, arithmetic):
    arithmetic.hooks[0, 2] = lambda request: vanished(970) if request.attempt == 0 else None
    _, folder = run(epochs=3, optimizer_state="local")
    assert arithmetic.own_rounds == {(w, n): n for w in (0, 1) for n in (1, 2, 3)}
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_out_of_memory_moves_the_worker_to_a_larger_action_for_good(run, arithmetic, platform):
    text = "The action exhausted its memory and was aborted."
    arithmetic.hooks[1, 1] = lambda request: vanished(901, text) if request.attempt == 0 else None
    report, _ = run(epochs=2)
    sizes = {e.memory_mb for e in report.activations if e.worker == 1 and e.outcome == "ok"}
    assert sizes == {min(sizes)}
    assert min(sizes) > report.plan.memory_mb
    assert {e.memory_mb for e in report.activations if e.worker == 0} == {report.plan.memory_mb}


def test_a_worker_that_stays_lost_ends_the_run(run, arithmetic):
    arithmetic.hooks[0, 1] = lambda request: vanished(950 + request.attempt)
    with pytest.raises(ActivationFailed, match="exited unexpectedly"):
        run(epochs=1)
    [folder] = run.run_dir.iterdir()
    assert json.loads((folder / "report.json").read_text())["totals"]["failed"] == MAX_LOSSES


def test_a_late_worker_gets_a_twin_and_one_of_the_two_counts(run, arithmetic, monkeypatch):
    monkeypatch.setattr(speculation, "LATE_MARGIN_S", 0.1)
    monkeypatch.setattr(speculation, "_WATCH_INTERVAL_S", 0.02)
    whole, _ = run(epochs=3)
    ended = threading.Event()

    def dawdle(request):
        if request.attempt == 0:
            # The first container is stuck until the run is over, and then ends all the same.
            ended.wait(30)

    arithmetic.hooks[1, 2] = dawdle
    run.listeners.append(lambda event: ended.set() if isinstance(event, RunEnded) else None)
    report, folder = run(epochs=3)
    arithmetic.store.delete_prefix(f"disdel:{folder.run}:")
    assert any("worker 1 is late" in e.message for e in run.events if isinstance(e, Noted))
    assert (report.totals.failed, report.totals.overtaken) == (0, 1)
    assert [e.attempt for e in report.ledger if e.round == 2] == [0, 1]
    assert scores(report)[-1] == scores(whole)[-1]
    assert [e.samples for e in report.ledger] == [e.samples for e in whole.ledger]


def test_a_platform_that_has_lost_everything_gets_it_again(run, platform):
    """It was started again without what it held."""
    whole, _ = run(epochs=3)

    def forget(event):
        if isinstance(event, RoundDone) and event.report.round == 1:
            platform.packages.clear()
            platform.actions.clear()

    run.listeners.append(forget)
    disturbed, folder = run(epochs=3)
    assert scores(disturbed)[-1] == scores(whole)[-1]
    assert disturbed.totals.failed == 0
    told = [e.message for e in run.events if isinstance(e, Noted)]
    assert told.count(f"disdel-{folder.run} was lost, and is made again") == 1


def test_a_killed_worker_counts_also_where_its_twin_was_faster(run, arithmetic, monkeypatch):
    monkeypatch.setattr(speculation, "LATE_MARGIN_S", 0.1)
    monkeypatch.setattr(speculation, "_WATCH_INTERVAL_S", 0.02)
    replaced, heard = threading.Event(), threading.Event()

    def die_late(request):
        """The platform tells of a container that was killed some seconds after it was."""
        if request.attempt == 0:
            replaced.wait(30)
            return vanished(990)
        return None

    def listen(event):
        if isinstance(event, RoundStarted) and event.round == 3:
            replaced.set()
        if isinstance(event, ActivationEnded) and event.activation.outcome == "error":
            heard.set()

    arithmetic.hooks[1, 2] = die_late
    arithmetic.hooks[0, 3] = lambda request: heard.wait(30) and None
    run.listeners.append(listen)
    report, _ = run(epochs=3)
    assert (report.totals.failed, report.totals.overtaken) == (1, 0)
    assert [e.attempt for e in report.ledger if e.round == 2] == [0, 1]
