"""The round loop, on a platform of this process, a real Redis, and training that is arithmetic."""

import asyncio
import contextlib
import json
import os
import signal
import threading

import numpy as np
import pytest

from disdel import wire
from disdel.controller import fleet
from disdel.controller import train as train_module
from disdel.controller.recovery import MAX_LOSSES
from disdel.controller.session import Session
from disdel.controller.settings import Settings
from disdel.errors import ActivationFailed, AggregationError
from disdel.events import ActivationEnded, Noted, PlanMade, RoundDone, RoundStarted, RunEnded
from disdel.store.codec import encode, read_tensors
from disdel.store.redis_store import RedisStore
from disdel.types import Limits, TrainJob
from disdel.worker.collect import collect
from disdel.worker.phases import PhaseClock
from tests.fake_platform import CAPACITY, FakePlatform, activation


class Arithmetic:
    """Workers whose weight is a number: training adds the worker's number + 1, once a round."""

    def __init__(self, store):
        self.store = store
        self.segments_of_worker_1 = 1
        self.hooks = {}

    def train(self, arguments):
        if arguments["task"] == "score":
            return self.score(arguments)
        request = wire.from_json(wire.TrainRequest, arguments)
        instead = self.hooks.get((request.worker, request.round), lambda request: None)(request)
        if instead is not None:
            return instead
        if request.initialise:
            self.store.put_if_absent(request.state_key, encode({"w": np.zeros(2, np.float64)}))
        state = read_tensors(self.store, request.state_key)
        halfway = (request.start_step + request.stop_step) // 2
        pauses = (
            request.worker == 1
            and request.segment < self.segments_of_worker_1 - 1
            and halfway > request.start_step
        )
        key = request.checkpoint_key if pauses else request.part_key
        reached = halfway if pauses else request.stop_step
        samples = 10 * (reached - request.start_step)
        self.store.put(
            key,
            encode(
                {"w": state["w"] + (0 if pauses else request.worker + 1)},
                {"samples": str(request.samples_before + samples)},
            ),
        )
        return wire.to_json(
            wire.TrainReply(
                outcome="continued-time" if pauses else "ok",
                next_step=reached,
                samples=samples,
                loss_sum=1.0 * (reached - request.start_step),
                train_s=0.1,
                peak_mb=300 + request.worker,
            )
        )

    def score(self, arguments):
        request = wire.from_json(wire.ScoreRequest, arguments)
        weight = read_tensors(self.store, request.state_key)["w"][0]
        if request.model_key is not None:
            self.store.put(request.model_key, b"a model file")
        return wire.to_json(
            wire.ScoreReply(samples=4, loss_sum=4 * (10 - weight), correct=2, peak_mb=310)
        )

    def collect(self, arguments):
        class Context:
            store = self.store
            clock = PhaseClock()

            def peak_mb(self):
                return 60

            def working_set_mb(self):
                return 64

        return wire.to_json(collect(wire.from_json(wire.CollectRequest, arguments), Context()))


@pytest.fixture
def arithmetic(redis_url):
    store = RedisStore(redis_url)
    yield Arithmetic(store)
    store.close()


@pytest.fixture
def platform(arithmetic):
    return FakePlatform({"train": arithmetic.train, "collectWeights": arithmetic.collect})


@pytest.fixture
def run(platform, redis_url, monkeypatch, tmp_path, arithmetic):
    """Run a digits job to its end; the report, the events and the run's folder."""

    @contextlib.asynccontextmanager
    async def session(settings):
        yield Session(
            platform=platform,
            platform_name="embedded",
            description="a fake",
            capacity=CAPACITY,
            store=arithmetic.store,
            redis_url=redis_url,
        )

    monkeypatch.setattr(train_module, "open_session", session)
    events = []
    listeners = [events.append]

    def listen(event):
        for listener in listeners:
            listener(event)

    def start(settings=None, **job):
        settings = settings or Settings(run_dir=tmp_path / "runs")
        job = {"dataset": "digits", "workers": 2} | job
        report, folder = asyncio.run(train_module.train(TrainJob(**job), settings, listen))
        return report, folder

    start.events = events
    start.listeners = listeners
    start.run_dir = tmp_path / "runs"
    return start


def test_a_run_from_plan_to_report(run, platform):
    report, folder = run(epochs=3)
    # Two workers of 719 samples each add 1 and 2: the mean grows by 1.5 a round.
    assert [entry.score.loss for entry in report.rounds] == [8.5, 7.0, 5.5]
    assert report.status == "ok"
    assert report.accuracy == 0.5
    assert folder.model.read_bytes() == b"a model file"
    saved = json.loads(folder.report.read_text())
    assert saved["version"] == 1
    assert saved["rounds"][0] == {
        "round": 1,
        "wall_s": saved["rounds"][0]["wall_s"],
        "train_loss": 0.1,
        "loss": 8.5,
        "accuracy": 0.5,
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
            for task, worker in [
                ("train", 0),
                ("train", 1),
                ("score", 0),
                ("score", 1),
                ("collect", None),
            ]
        ],
        key=str,
    )
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


def test_a_round_in_segments_counts_every_sample_once(run, arithmetic):
    whole, _ = run(epochs=1)
    arithmetic.segments_of_worker_1 = 3
    cut, _ = run(epochs=1)
    segments = [e for e in cut.activations if e.task == "train" and e.worker == 1]
    assert [e.segment for e in segments] == [0, 1, 2]
    assert [e.outcome for e in segments] == ["continued-time", "continued-time", "ok"]
    assert cut.rounds[0].score == whole.rounds[0].score
    assert cut.rounds[0].train_loss == whole.rounds[0].train_loss


def test_a_failing_worker_ends_the_run_and_leaves_a_report(run, arithmetic, platform):
    arithmetic.hooks[1, 2] = lambda request: activation(
        77, "train", {"error": {"kind": "diverged", "message": "the loss became nan"}}
    )
    with pytest.raises(ActivationFailed, match="the loss became nan") as failed:
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


def test_a_lost_part_is_no_quieter_average(run, arithmetic):
    def lose_part(request):
        return wire.to_json(
            wire.TrainReply(
                outcome="ok", next_step=12, samples=719, loss_sum=1.0, train_s=0.1, peak_mb=1
            )
        )

    arithmetic.hooks[0, 1] = lose_part
    with pytest.raises(AggregationError, match="the part of worker 0 is missing"):
        run(epochs=1)


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
    assert disturbed.rounds[-1].score == whole.rounds[-1].score
    assert disturbed.totals.failed == disturbed.totals.restarted == 2
    entries = [(e.round, e.worker, e.samples, e.checksum) for e in disturbed.ledger]
    assert entries == [(e.round, e.worker, e.samples, e.checksum) for e in whole.ledger]
    assert [e.attempt for e in disturbed.ledger] == [0, 0, 2, 0, 0, 0]


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
    monkeypatch.setattr(fleet, "STRAGGLER_MARGIN_S", 0.1)
    monkeypatch.setattr(fleet, "_WATCH_INTERVAL_S", 0.02)
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
    assert [e.attempt for e in report.ledger if e.round == 2] == [0, 1]
    assert report.rounds[-1].score == whole.rounds[-1].score
    assert [e.samples for e in report.ledger] == [e.samples for e in whole.ledger]


def test_many_workers_are_averaged_in_a_tree(run, arithmetic):
    flat, _ = run(epochs=1, workers=11, fan_in=11)
    tree, _ = run(epochs=1, workers=11, fan_in=3)
    collects = [entry for entry in tree.activations if entry.task == "collect"]
    # Groups of 3, 3, 3 and 2; of these 3 and 1; then one of 2.
    assert len(collects) == 4 + 2 + 1
    assert tree.rounds[0].score.loss == pytest.approx(flat.rounds[0].score.loss)
    assert tree.ledger == flat.ledger
    assert sorted(entry.worker for entry in tree.ledger) == list(range(11))


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
    assert json.loads((folder / "report.json").read_text())["status"] == "failed"


def test_keep_leaves_package_and_weights(run, arithmetic, platform, tmp_path):
    _, folder = run(Settings(run_dir=tmp_path / "runs", keep=True), epochs=1)
    assert list(platform.packages) == [f"disdel-{folder.run}"]
    assert arithmetic.store.open(f"disdel:{folder.run}:state:1") is not None
    assert any(isinstance(event, Noted) for event in run.events)
    arithmetic.store.delete_prefix(f"disdel:{folder.run}:")


def test_nothing_of_a_run_stays_in_the_store(run, arithmetic):
    _, folder = run(epochs=1)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_a_plan_that_does_not_fit_leaves_no_folder(run, tmp_path):
    from disdel.errors import InsufficientMemory

    settings = Settings(run_dir=tmp_path / "runs", limits=Limits(memory_max_mb=128))
    with pytest.raises(InsufficientMemory):
        run(settings)
    assert not run.run_dir.exists()


def test_workers_get_their_own_shard_and_nothing_else(run, platform):
    run(epochs=1)
    shards = {a["worker"]: a["shard_key"] for n, a in platform.invoked if a["task"] == "train"}
    assert len(set(shards.values())) == 2
    assert all("x" not in a and len(json.dumps(a)) < 2000 for _, a in platform.invoked)
