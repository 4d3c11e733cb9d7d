"""A run that ends well: its rounds, its report and events, and which round is the last."""

import json
from dataclasses import replace

from disdel.controller.training import train as train_module
from disdel.protocol import memory_grant
from disdel.types import Validation
from disdel.types.events import ActivationEnded, Noted, PlanMade, RoundDone, RoundStarted, RunEnded
from tests.support.fake_platform import CAPACITY, FakePlatform, sessions_of


def test_a_run_from_plan_to_report(run, platform):
    report, folder = run(epochs=3)
    # Two workers of 719 samples each add 1 and 2: the mean grows by 1.5 a round.
    assert [entry.loss for entry in report.rounds] == [8.5, 7.0, 5.5]
    assert report.status == "ok"
    assert report.accuracy == 0.5
    assert folder.model.read_bytes() == b"a model file"
    saved = json.loads(folder.report.read_text())
    assert saved["version"] == 2
    assert saved["rounds"][0] == {
        "round": 1,
        "wall_s": saved["rounds"][0]["wall_s"],
        "train_loss": 0.1,
        "loss": 8.5,
        "accuracy": 0.5,
        "metrics": {},
        "clients": None,
        "privacy": None,
        "client_scores": None,
        "times": saved["rounds"][0]["times"],
    }
    assert saved["settings"]["workers"] == 2
    assert platform.packages == {}
    assert platform.actions == {}


def test_every_activation_is_in_the_report_and_has_a_log(run):
    report, folder = run(epochs=2)
    tasks = [(entry.task, entry.worker, entry.round) for entry in report.activations]
    assert sorted(tasks, key=str) == sorted(
        [
            (task, worker, number)
            for number in (1, 2)
            for task, worker in [("train", 0), ("train", 1), ("collect", None)]
        ]
        # The first average is scored by the activations that train on from it.
        + [("score", 0, 2), ("score", 1, 2)]
        # Which starts the container of the averages.
        + [("collect", None, 1)],
        key=str,
    )
    assert report.plan.invocations == len(tasks)
    for entry in report.activations:
        log = folder.log(worker=entry.worker, activation_id=entry.id)
        assert log.read_text() == f"stdout: log of {entry.id}\n"
    assert report.totals.containers == 3
    assert report.totals.memory_mb == 2 * report.plan.memory_mb + report.plan.collect_memory_mb
    assert report.totals.failure_rate == 0


def test_an_activation_starts_between_its_submission_and_its_answer(run):
    # The clock of this platform is decades late.
    report, _ = run(epochs=1)
    for entry in report.activations:
        assert 0 <= entry.times.submitted_ms <= entry.times.started_ms <= entry.times.received_ms
        assert entry.times.received_ms <= report.wall_s * 1000 + 1


def test_events_come_in_order(run):
    run(epochs=2)
    kinds = [type(event) for event in run.events]
    assert kinds.index(PlanMade) < kinds.index(RoundStarted) < kinds.index(ActivationEnded)
    assert kinds.count(RoundDone) == 2
    assert kinds[-1] is RunEnded


def test_some_rounds_are_scored_and_the_last_one_always(run):
    report, _ = run(epochs=5, validation=Validation(every=2))
    losses = [entry.loss for entry in report.rounds]
    assert losses == [None, 7.0, None, 4.0, 2.5]
    assert (report.loss, report.model_round, report.stopped) == (2.5, 5, None)


def test_a_target_that_is_reached_ends_the_run(run, arithmetic):
    report, folder = run(epochs=5, validation=Validation(every=2, target_accuracy=0.5))
    assert len(report.rounds) == report.model_round == 2
    assert report.stopped == "validation accuracy 0.5000 has reached the target of 0.5"
    assert folder.model.is_file()
    assert arithmetic.exported == 3.0
    assert json.loads(folder.report.read_text())["stopped"] == report.stopped


def test_patience_ends_the_run_with_the_best_model(run, arithmetic):
    arithmetic.loss_of = lambda weight: abs(4.5 - weight)
    report, folder = run(epochs=9, validation=Validation(patience=2))
    assert [entry.loss for entry in report.rounds] == [3.0, 1.5, 0.0, 1.5, 3.0]
    assert report.stopped == "no lower validation loss than after round 3 in 2 rounds"
    assert (report.model_round, report.loss) == (3, 0.0)
    assert arithmetic.exported == 4.5
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


class SmallPool(FakePlatform):
    """A container of collectWeights takes the place of a worker's."""

    async def invoke(self, package, action, arguments, **waits):
        if action == "collectWeights":
            self._cold.discard(("train", 0))
        # An average in a worker's container finds it there.
        self._cold.add(("train", None))
        return await super().invoke(package, action, arguments, **waits)


def test_where_averages_evict_a_worker_one_averages_in_its_place(
    arithmetic, redis_url, monkeypatch, tmp_path, run
):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    capacity = replace(CAPACITY, pool_memory_mb=None, cpus=None)
    handlers = {"train": arithmetic.train, "collectWeights": arithmetic.collect}
    platform = SmallPool(handlers | {"node": lambda _: {"cpus": 2}}, capacity)
    opened = sessions_of(platform, arithmetic.store, redis_url, capacity)
    monkeypatch.setattr(train_module, "open_session", opened)
    report, _ = run(epochs=4)
    assert [entry.loss for entry in report.rounds] == [8.5, 7.0, 5.5, 4.0]
    cold = [entry.round for entry in report.activations if entry.start == "cold"]
    # It is seen when the second round is done, which is before the third one's average.
    assert set(cold) == {1, 2, 3}
    [note] = [e.message for e in run.events if isinstance(e, Noted) and "averages" in e.message]
    plan = report.plan
    together_mb = plan.workers * plan.memory_mb + plan.collect_memory_mb
    assert f"less than {together_mb} MB" in note
    # The next run plans for what was seen, and nothing is started twice.
    report, _ = run(epochs=4)
    assert report.plan.collect_memory_mb == 0
    assert {entry.action for entry in report.activations} == {"train"}


def test_each_invocation_has_a_grant_of_its_own_and_nothing_stored_has_any(
    run, platform, arithmetic, monkeypatch
):
    secret = "a secret of enough bytes"
    monkeypatch.setenv(memory_grant.SECRET_ENV, secret)
    stored = []
    create = platform.create_package

    async def create_package(package, parameters):
        stored.append(parameters)
        await create(package, parameters)

    monkeypatch.setattr(platform, "create_package", create_package)
    _, folder = run(epochs=1)
    grants = [arguments[memory_grant.ARGUMENT] for _, arguments in platform.invoked]
    assert len(set(grants)) == len(grants) > 4
    for grant in grants:
        identity, expires_s, key = grant.split(":")
        assert memory_grant.key_of(secret.encode(), identity, int(expires_s)).hex() == key
    assert all(memory_grant.ARGUMENT not in parameters for parameters in stored)
    kept = b"".join(path.read_bytes() for path in folder.path.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert not any(grant.rpartition(":")[2].encode() in kept for grant in grants)


def test_without_a_secret_nothing_is_granted(run, platform):
    run(epochs=1)
    assert all(memory_grant.ARGUMENT not in arguments for _, arguments in platform.invoked)
