"""A train activation around a trainer that only counts."""

import json
import time
from dataclasses import fields

import numpy as np
import pytest

from disdel.models import built_in
from disdel.protocol import messages
from disdel.runtimes.base import Scored, Trainer
from disdel.store.codec import encode, read_header, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.types import RateSchedule
from disdel.worker.cancellation import Cancelled
from disdel.worker.context import Context
from disdel.worker.footprint import Footprint
from disdel.worker.shards import ShardCache
from disdel.worker.train import TrainingDiverged, train_segment
from openwhisk_local.machine.container_memory import MemoryUse


class Counting(Trainer):
    """Adds up every sample that it is given; the loss of a step is its number of samples."""

    def __init__(self):
        self.total = np.zeros((), np.int64)
        self.loss = None
        self.factors = []
        self.seeds = []
        self.after_block = lambda: None

    def state(self):
        return {"total": self.total}

    def load_state(self, tensors):
        self.total = tensors["total"].copy()

    def trained(self):
        return ()

    def add_terms(self, terms):
        self.terms = terms

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        self.micro_batches = micro_batches
        self.factors += rate_factors.tolist()
        self.seeds += seeds.tolist()
        assert len(rate_factors) == len(seeds) == len(x)
        assert x.shape[:2] == y.shape
        self.total = self.total + x.sum()
        self.after_block()
        return float(y.size) if self.loss is None else self.loss

    def score(self, x, y):
        raise AssertionError("not asked for")

    def save_model(self, path):
        raise AssertionError("not asked for")


class OneTrainer:
    framework = None

    def __init__(self, trainer):
        self.trainer = trainer

    def import_framework(self, runtime):
        self.framework = Footprint(anonymous_mb=230, mapped_mb=330)

    def get(self, network, samples):
        assert samples.dtype == np.int64
        return self.trainer


class Memory:
    def __init__(self, critical=False, limit_mb=64):
        self.critical = critical
        self.limit_bytes = limit_mb << 20

    def use(self):
        return MemoryUse(
            used_bytes=10 << 20,
            peak_bytes=(20 << 20) + 1,
            limit_bytes=self.limit_bytes,
            critical=self.critical,
        )


SAMPLES = 1000


@pytest.fixture
def store():
    store = MemoryStore()
    shard = {"x": np.arange(SAMPLES, dtype=np.int64), "y": np.zeros(SAMPLES, np.int32)}
    store.put("shard", encode(shard))
    return store


def request(**changes):
    fields = {
        "network": messages.Network(
            runtime="tensorflow",
            model=built_in("cnn", input_shape=(8, 8, 1), classes=2),
            optimizer="adam",
            learning_rate=None,
            seed=0,
            threads=1,
        ),
        "worker": 0,
        "client": 0,
        "round": 1,
        "segment": 0,
        "attempt": 0,
        "samples_before": 0,
        "micro_batches": 1,
        "block_steps": 32,
        "heed_memory": True,
        "batch_size": 10,
        "start_step": 0,
        "stop_step": 300,
        "shard_key": "shard",
        "state_key": "state:0",
        "initialise": True,
        "update_key": "update",
        "checkpoint_key": "checkpoint",
        "progress_key": "progress",
    }
    return messages.TrainRequest(**(fields | changes))


def run(store, trainer, *, remaining_s=3600.0, critical=False, limit_mb=64, **changes):
    context = Context(store, time.time() + remaining_s, Memory(critical, limit_mb))
    return train_segment(request(**changes), context, OneTrainer(trainer), ShardCache())


def test_three_epochs_see_every_sample_three_times(store):
    reply = run(store, Counting())
    assert reply.outcome == "ok"
    assert reply.next_step == 300
    assert reply.samples == reply.loss_sum == 3 * SAMPLES
    assert reply.peak_mb == 21
    assert reply.working_set_mb > 1
    ended = [getattr(reply.phases, field.name) for field in fields(reply.phases)]
    # Nothing was scored.
    ended.remove(None)
    assert ended == sorted(ended)
    assert (reply.framework_anonymous_mb, reply.framework_mapped_mb) == (230, 330)
    assert read_tensors(store, "update")["total"] == 3 * sum(range(SAMPLES))


class Scoring(Counting):
    """Scores what it is loaded with, by its total."""

    def score(self, x, y):
        return Scored(float(self.total) * len(x), len(x), {"m": 0.5 * len(x)})


def scores_first(store, **fields):
    store.put("held out", encode({"x": np.ones(7, np.int64), "y": np.zeros(7, np.int32)}))
    asked = {"round": 4, "batch_size": 3, "shard_key": "held out", "scores_key": "scores"}
    return messages.ScoreFirst(**(asked | fields))


def test_the_average_is_scored_before_the_first_step_and_told_while_it_trains(store):
    store.put("state:4", encode({"total": np.asarray(5, np.int64)}))
    told = []
    trainer = Scoring()
    trainer.after_block = lambda: told.append(store.fields("scores"))
    run(store, trainer, round=5, state_key="state:4", initialise=False, scores=scores_first(store))
    want = {"samples": 7, "loss_sum": 35.0, "correct": 7, "metric_sums": {"m": 3.5}, "labels": None}
    assert {worker: json.loads(said) for worker, said in told[0].items()} == {"0": want}
    # Training goes on from what was scored.
    assert read_tensors(store, "update")["total"] == 5 + 3 * sum(range(SAMPLES))


def test_an_average_that_has_diverged_is_told_by_whoever_scores_it(store):
    class Diverged(Scoring):
        def score(self, x, y):
            return Scored(float("nan"), 0)

    with pytest.raises(TrainingDiverged, match="the average of round 4 has a loss of nan"):
        run(store, Diverged(), scores=scores_first(store))
    assert store.fields("scores") == {}


def test_nothing_is_told_of_a_run_that_is_over(store):
    class Late(Scoring):
        def score(self, x, y):
            store.delete("state:0")
            return super().score(x, y)

    with pytest.raises(Cancelled):
        run(store, Late(), scores=scores_first(store))
    assert store.fields("scores") == {}


def test_the_first_worker_publishes_the_initial_state_and_others_keep_it(store):
    run(store, Counting(), stop_step=1)
    assert read_tensors(store, "state:0")["total"] == 0
    other = Counting()
    other.total = np.array(10**9)
    run(store, other, client=1, stop_step=100, update_key="update:1")
    assert read_tensors(store, "update:1")["total"] == sum(range(SAMPLES))


def test_near_the_deadline_it_checkpoints_and_asks_to_go_on(store):
    # No time beyond the first block, which every activation may take.
    replies = [run(store, Counting(), remaining_s=0.0)]
    while replies[-1].outcome == "continued-time":
        assert store.open("update") is None
        replies.append(
            run(
                store,
                Counting(),
                remaining_s=0.0,
                start_step=replies[-1].next_step,
                samples_before=sum(reply.samples for reply in replies),
                state_key="checkpoint",
                initialise=False,
            )
        )
    assert len(replies) > 5
    assert sum(reply.samples for reply in replies) == 3 * SAMPLES
    assert read_tensors(store, "update")["total"] == 3 * sum(range(SAMPLES))


def test_short_of_memory_it_saves_its_work_and_says_so(store):
    reply = run(store, Counting(), critical=True)
    assert reply.outcome == "continued-memory"
    assert reply.next_step == 32
    assert read_header(store.existing("checkpoint")).metadata["samples"] == "320"


def test_pages_that_are_charged_and_not_needed_are_no_shortage(store):
    assert run(store, Counting(), critical=True, limit_mb=1 << 20).outcome == "ok"


def test_told_not_to_heed_memory_it_goes_on(store):
    assert run(store, Counting(), critical=True, heed_memory=False).outcome == "ok"


def test_batches_are_cut_when_asked(store):
    trainer = Counting()
    run(store, trainer, micro_batches=4, stop_step=1)
    assert trainer.micro_batches == 4


def test_the_learning_rate_goes_on_where_it_was(store):
    whole, first, second = Counting(), Counting(), Counting()
    falling = {"rate_schedule": RateSchedule(shape="linear", warmup=10), "total_steps": 300}
    run(store, whole, **falling)
    run(store, first, stop_step=130, update_key="half", **falling)
    run(store, second, start_step=130, state_key="half", initialise=False, **falling)
    assert first.factors + second.factors == whole.factors
    assert len(set(whole.factors)) > 250


def test_random_numbers_begin_at_each_step_wherever_a_round_is_cut(store):
    whole, first, second, other = Counting(), Counting(), Counting(), Counting()
    run(store, whole)
    run(store, first, stop_step=130, update_key="half")
    run(store, second, start_step=130, state_key="half", initialise=False)
    run(store, other, client=1)
    assert first.seeds + second.seeds == whole.seeds
    assert len({*whole.seeds, *other.seeds}) == 2 * len(whole.seeds)


def test_a_trainer_that_draws_no_random_numbers_is_given_no_seeds(store):
    class Seedless(Counting):
        takes_seeds = False

        def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
            assert seeds is None
            return float(y.size)

    assert run(store, Seedless()).outcome == "ok"


def test_a_loss_that_is_no_number_stops_the_run(store):
    trainer = Counting()
    trainer.loss = float("nan")
    with pytest.raises(
        TrainingDiverged, match=r"the loss became nan in round 1 on worker 0, step 32"
    ):
        run(store, trainer)
    assert store.open("update") is None


class WithOptimizer(Counting):
    """Its optimizer counts the blocks that it has seen."""

    def __init__(self):
        super().__init__()
        self.blocks = np.zeros((), np.int64)

    def state(self):
        return {"model/total": self.total, "optimizer/blocks": self.blocks}

    def load_state(self, tensors):
        self.total = tensors["model/total"].copy()
        self.blocks = tensors.get("optimizer/blocks", np.zeros((), np.int64)).copy()

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        self.blocks = self.blocks + 1
        return super().train(x, y, micro_batches, rate_factors, seeds)


@pytest.mark.parametrize(
    ("kept", "in_parts", "blocks_after"), [("reset", 1, 1), ("local", 1, 2), ("average", 2, 2)]
)
def test_what_becomes_of_the_optimizer(store, kept, in_parts, blocks_after):
    own = {"new_optimizer_key": "optimizer:1"} if kept == "local" else {}
    run(store, WithOptimizer(), optimizer_state=kept, stop_step=32, **own)
    assert len(read_tensors(store, "state:0")) == in_parts
    assert len(read_tensors(store, "update")) == in_parts
    own = {"optimizer_key": "optimizer:1", "new_optimizer_key": "optimizer:2"}
    own = own if kept == "local" else {}
    trainer = WithOptimizer()
    trainer.blocks += 100
    again = {"start_step": 32, "stop_step": 64, "state_key": "update", "initialise": False}
    run(store, trainer, optimizer_state=kept, update_key="update:2", **again, **own)
    assert trainer.blocks == blocks_after
    if kept == "local":
        assert read_tensors(store, "optimizer:2") == {"optimizer/blocks": 2}


def test_a_checkpoint_is_whole_whatever_is_averaged(store):
    run(store, WithOptimizer(), remaining_s=0.0, optimizer_state="reset")
    assert read_tensors(store, "checkpoint").keys() == {"model/total", "optimizer/blocks"}


def test_a_segment_that_nobody_waits_for_leaves_nothing(store):
    trainer = Counting()
    trainer.after_block = lambda: store.delete_prefix("state")
    with pytest.raises(Cancelled, match="state:0 has been removed"):
        run(store, trainer)
    assert store.open("update") is None
    assert store.open("checkpoint") is None
    assert len(trainer.factors) == 32
    assert not store.fields("progress")


def test_progress_can_be_followed(store):
    run(store, Counting())
    assert '"state": "done"' in store.fields("progress")["0"]
    assert '"memory_mb": 10' in store.fields("progress")["0"]
    assert '"limit_mb": 64' in store.fields("progress")["0"]


class Masked(Counting):
    """Has a mask of attention, minus infinity where nothing is to be seen."""

    def __init__(self, breaks=0.0):
        super().__init__()
        self.mask = np.array([0, -np.inf, -np.inf], np.float32)
        self.breaks = breaks

    def state(self):
        return {"total": self.total, "mask": self.mask}

    def load_state(self, tensors):
        super().load_state(tensors)
        self.mask = tensors["mask"] + np.array([self.breaks, 0, 0], np.float32)


def test_what_was_infinite_from_the_start_may_stay(store):
    assert run(store, Masked()).outcome == "ok"
    assert read_tensors(store, "update")["mask"].tolist() == [0, -np.inf, -np.inf]


def test_what_training_made_infinite_ends_the_run(store):
    with pytest.raises(TrainingDiverged, match="mask is no longer finite at the end of round 1"):
        run(store, Masked(breaks=np.nan))
