"""The round loop, on a platform of this process, a real Redis, and training that is arithmetic."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time

import numpy as np
import pytest

from disdel import wire
from disdel.controller import fleet
from disdel.controller import train as train_module
from disdel.controller.recovery import MAX_LOSSES
from disdel.controller.resuming import read_resumed
from disdel.controller.run_folder import run_folders
from disdel.controller.session import Session
from disdel.controller.settings import Settings
from disdel.errors import ActivationFailed, AggregationError, TrainingDiverged, UsageError
from disdel.events import ActivationEnded, Noted, PlanMade, RoundDone, RoundStarted, RunEnded
from disdel.store.codec import encode, read_tensors
from disdel.store.redis_store import RedisStore
from disdel.types import Limits, TrainJob, Validation
from disdel.worker.collect import collect
from disdel.worker.phases import PhaseClock
from tests.fake_platform import CAPACITY, FakePlatform, activation


class Arithmetic:
    """Workers whose weight is a number: training adds the worker's number + 1, once a round."""

    def __init__(self, store):
        self.store = store
        self.segments_of_worker_1 = 1
        self.hooks = {}
        self.own_rounds = {}
        self.train_s = lambda request: 0.1
        self.loss_of = lambda weight: 10 - weight
        self.exported = None

    def train(self, arguments):
        if arguments["task"] == "score":
            return self.score(arguments)
        if arguments["task"] == "collect":
            return self.collect(arguments)
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
        if request.new_slots_key is not None:
            self.count_rounds(request)
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
                train_s=self.train_s(request),
                peak_mb=300 + request.worker,
            )
        )

    def count_rounds(self, request):
        """A worker's own optimizer counts its rounds; a checkpoint would carry it, too."""
        before = {"rounds": np.zeros((), np.int64)}
        if request.slots_key is not None:
            before = read_tensors(self.store, request.slots_key)
        counted = before["rounds"] + (request.segment == 0)
        self.own_rounds[request.worker, request.round] = int(counted)
        self.store.put(request.new_slots_key, encode({"rounds": counted}))

    def score(self, arguments):
        request = wire.from_json(wire.ScoreRequest, arguments)
        weight = read_tensors(self.store, request.state_key)["w"][0]
        if request.model_key is not None:
            self.exported = weight
            self.store.put(request.model_key, b"a model file")
        return wire.to_json(
            wire.ScoreReply(samples=4, loss_sum=4 * self.loss_of(weight), correct=2, peak_mb=310)
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
            lasting_apihost="http://fake",
            lasting_redis=redis_url,
        )

    monkeypatch.setattr(train_module, "open_session", session)
    events = []
    listeners = [events.append]

    def listen(event):
        for listener in listeners:
            listener(event)

    def start(settings=None, resumed=None, **job):
        settings = settings or Settings(run_dir=tmp_path / "runs")
        if resumed is None:
            wanted = TrainJob(
                **({"dataset": "digits", "workers": 2, "runtime": "tensorflow"} | job)
            )
        else:
            resumed = read_resumed(resumed)
            wanted = resumed.job(**job)
        return asyncio.run(train_module.train(wanted, settings, listen, resumed=resumed))

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
        "metrics": {},
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
        ]
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


def test_a_round_in_segments_counts_every_sample_once(run, arithmetic):
    whole, _ = run(epochs=1)
    arithmetic.segments_of_worker_1 = 3
    cut, _ = run(epochs=1)
    segments = [e for e in cut.activations if e.task == "train" and e.worker == 1]
    assert [e.segment for e in segments] == [0, 1, 2]
    assert [e.outcome for e in segments] == ["continued-time", "continued-time", "ok"]
    assert cut.rounds[0].score == whole.rounds[0].score
    assert cut.rounds[0].train_loss == whole.rounds[0].train_loss


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


def test_workers_keep_their_own_optimizers_whatever_is_lost(run, arithmetic):
    arithmetic.hooks[0, 2] = lambda request: vanished(970) if request.attempt == 0 else None
    _, folder = run(epochs=3, optimizer_state="local")
    assert arithmetic.own_rounds == {(w, n): n for w in (0, 1) for n in (1, 2, 3)}
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


@pytest.mark.parametrize(("average", "mean"), [("samples", 130 / 60), ("equal", 2.5)])
def test_what_a_part_weighs(run, average, mean):
    """Workers add 1, 2, 3 and 4; the first two have 360 samples, so a second step each."""
    report, _ = run(epochs=1, workers=4, batch_size=359, average=average)
    assert report.rounds[0].score.loss == pytest.approx(10 - mean)
    assert [entry.samples for entry in report.ledger] == [20, 20, 10, 10]


def test_some_rounds_are_scored_and_the_last_one_always(run):
    report, _ = run(epochs=5, validation=Validation(every=2))
    losses = [None if entry.score is None else entry.score.loss for entry in report.rounds]
    assert losses == [None, 7.0, None, 4.0, 2.5]
    assert (report.loss, report.model_round, report.stopped) == (2.5, 5, None)


def test_a_target_that_is_reached_ends_the_run(run, arithmetic):
    report, folder = run(epochs=5, validation=Validation(every=2, target_accuracy=0.5))
    assert len(report.rounds) == report.model_round == 2
    assert report.stopped == "accuracy 0.5000 has reached the target of 0.5"
    assert folder.model.is_file()
    assert arithmetic.exported == 3.0
    assert json.loads(folder.report.read_text())["stopped"] == report.stopped


def test_patience_ends_the_run_with_the_best_model(run, arithmetic):
    arithmetic.loss_of = lambda weight: abs(4.5 - weight)
    report, folder = run(epochs=9, validation=Validation(patience=2))
    assert [entry.score.loss for entry in report.rounds] == [3.0, 1.5, 0.0, 1.5, 3.0]
    assert report.stopped == "no lower loss for 2 rounds than after round 3"
    assert (report.model_round, report.loss) == (3, 0.0)
    assert arithmetic.exported == 4.5
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


@pytest.mark.parametrize(
    ("limits", "most", "expected"),
    [
        ({}, None, [2, 3, 4, 5, 4, 3]),
        ({}, 3, [2, 3, 3, 3, 3, 3]),
        ({"pool_memory_mb": 1400}, None, [2, 2, 2, 2, 2, 2]),
    ],
)
def test_workers_become_more_and_fewer_and_every_sample_has_one(
    run, arithmetic, tmp_path, limits, most, expected
):
    seen = {}

    def look(request):
        arithmetic.store.wait_for(request.shard_key, time.monotonic() + 30)
        shard = read_tensors(arithmetic.store, request.shard_key)
        seen.setdefault(request.round, []).append(shard["x"])

    def seconds(request):
        workers = round(1438 / len(seen[request.round][-1]))
        return 1.0 + abs(4 - workers)

    arithmetic.train_s = seconds
    for worker in range(6):
        for number in range(1, 7):
            arithmetic.hooks[worker, number] = look
    settings = Settings(run_dir=tmp_path / "runs", limits=Limits(**limits))
    report, folder = run(settings, epochs=6, workers_policy="adapt", workers_max=most)
    per_round = [[e for e in report.ledger if e.round == number] for number in range(1, 7)]
    assert [len(entries) for entries in per_round] == expected
    samples = {number: np.concatenate(shards) for number, shards in seen.items()}
    first = np.sort(samples[1].reshape(1438, -1), axis=0)
    for number, workers in enumerate(expected, 1):
        assert len(seen[number]) == workers
        assert len(samples[number]) == 1438
        assert np.array_equal(np.sort(samples[number].reshape(1438, -1), axis=0), first)
    assert {e.memory_mb for e in report.activations if e.task == "train"} == {report.plan.memory_mb}
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


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
    assert [entry.score for entry in report.rounds] == [entry.score for entry in whole.rounds]
    assert (report.model_round, report.stopped) == (whole.model_round, whole.stopped)
    assert all(counted == number for (_, number), counted in arithmetic.own_rounds.items())
    # Each controller starts a container for its averages.
    assert len(report.activations) == len(whole.activations) + (failing > 1)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


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


def test_a_run_that_lacks_only_its_model_gets_it(run, arithmetic, platform):
    _, folder = run(epochs=2)
    folder.model.unlink()
    folder.write_report(folder.read_report() | {"status": "failed"})
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
    assert [entry.score.loss for entry in report.rounds] == [8.5, 7.0, 5.5, 4.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"version": 99}\n', "begun by another release"),
        ("nonsense\n", "cannot be read"),
        (None, "only trainings can"),
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
            seen.append((folder.is_running, folder.read_report()["status"]))
            with pytest.raises(UsageError, match="is still running; disdel stop"):
                read_resumed(folder)

    run.listeners.append(look)
    _, folder = run(epochs=1)
    assert seen == [(True, "running")]
    assert not folder.is_running


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
    # The first container starts; groups of 3, 3, 3 and 2; of these 3 and 1; then one of 2.
    assert len(collects) == 1 + 4 + 2 + 1
    assert tree.rounds[0].score.loss == pytest.approx(flat.rounds[0].score.loss)
    assert tree.ledger == flat.ledger
    assert sorted(entry.worker for entry in tree.ledger) == list(range(11))


def test_the_container_of_the_averages_starts_while_the_workers_train(run, arithmetic, platform):
    report, _ = run(epochs=2)
    collects = [request for action, request in platform.invoked if action == "collectWeights"]
    assert [len(request["parts"]) for request in collects] == [0, 2, 2]
    starts = [entry.start for entry in report.activations if entry.task == "collect"]
    assert starts == ["cold", "warm", "warm"]


def test_one_worker_averages_on_its_own_container(run, arithmetic, platform):
    report, _ = run(epochs=2, workers=1)
    assert {action for action, _ in platform.invoked} == {"train"}
    # One more a round.
    assert arithmetic.exported == 2
    assert [(entry.round, entry.worker) for entry in report.ledger] == [(1, 0), (2, 0)]
    assert report.plan.invocations == len(report.activations)


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
