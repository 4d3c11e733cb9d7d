"""A federation's train activation, around a trainer that only counts, and the join behind it."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from disdel.errors import AggregationError, UsageError
from disdel.models import built_in
from disdel.protocol import client_messages, messages
from disdel.runtimes.base import Scored, Trainer
from disdel.store.codec import encode, read_header, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies.exact_sum import exponent_for
from disdel.worker.cancellation import Cancelled
from disdel.worker.client_turns import RoundState
from disdel.worker.clients import train_clients
from disdel.worker.combine import combine, write_mean
from disdel.worker.context import Context
from disdel.worker.footprint import Footprint
from disdel.worker.own_data import OwnData
from disdel.worker.shards import Samples, ShardCache
from openwhisk_local.machine.container_memory import MemoryUse


class Adding(Trainer):
    """Adds the mean of each batch to its weight, and counts its steps; the loss is the weight."""

    def __init__(self):
        self.w, self.steps, self.slot = np.zeros(2, np.float32), np.zeros((), np.int64), 0.0
        self.loads, self.rates = 0, []
        self.after_block = lambda: None

    def state(self):
        slot = np.array([self.slot], np.float32)
        return {"model/w": self.w.copy(), "model/n": self.steps, "optimizer/slot": slot}

    def load_state(self, tensors):
        self.loads += 1
        self.w, self.steps = tensors["model/w"].copy(), tensors["model/n"]
        self.slot = float(tensors["optimizer/slot"][0]) if "optimizer/slot" in tensors else 0.0

    def trained(self):
        return ("model/w",)

    def add_terms(self, terms):
        self.terms = terms

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        self.rates += rate_factors.tolist()
        for batch in x:
            self.w = self.w + np.float32(batch.mean())
            self.slot += 1
        self.steps = self.steps + len(x)
        self.after_block()
        return float(y.size)

    def score(self, x, y):
        # Each sample's loss is the weight, and classes are its whole part.
        return Scored(float(self.w[0]) * len(x), int((y == int(self.w[0])).sum()))

    def save_model(self, path):
        raise AssertionError("not asked for")


class OneTrainer:
    framework = None

    def __init__(self, trainer):
        self.trainer = trainer

    def import_framework(self, runtime):
        self.framework = Footprint(anonymous_mb=230, mapped_mb=330)

    def get(self, network, samples):
        return self.trainer


class Memory:
    critical = False

    def use(self):
        return MemoryUse(
            used_bytes=10 << 20, peak_bytes=20 << 20, limit_bytes=64 << 20, critical=self.critical
        )


SIZES = {0: 4, 1: 12, 2: 1, 3: 30}
BATCH = 4


@pytest.fixture
def store():
    store = MemoryStore()
    for client, size in SIZES.items():
        shard = {"x": np.full(size, client + 1, np.int64), "y": np.zeros(size, np.int32)}
        store.put(f"shard:{client}", encode(shard))
    return store


def turn(client, epochs=1, **changes):
    steps = epochs * math.ceil(SIZES[client] / BATCH)
    plain = client_messages.ClientTurn(
        client=client,
        shard_key=f"shard:{client}",
        start_step=0,
        stop_step=steps,
        batch_size=BATCH,
        weight=SIZES[client] * epochs,
    )
    return replace(plain, **changes)


ALL = tuple(turn(client) for client in SIZES)


def request(turns=ALL, **changes):
    fields = {
        "network": messages.Network(
            runtime="tensorflow",
            model=built_in("cnn", input_shape=(8, 8, 1), classes=2),
            optimizer="sgd",
            learning_rate=None,
            seed=0,
            threads=1,
        ),
        "worker": 0,
        "round": 1,
        "segment": 0,
        "attempt": 0,
        "turns": turns,
        "micro_batches": 1,
        "block_steps": 2,
        "heed_memory": True,
        "state_key": "state:0",
        "initialise": True,
        "exponent": exponent_for([one.weight for one in ALL]),
        "sum_key": "sum",
        "checkpoint_key": "checkpoint",
        "progress_key": "progress",
        "open_key": "open",
    }
    return client_messages.TrainClientsRequest(**(fields | changes))


class Site(OwnData):
    """Has the samples of three clients in memory; for test, two of its class 0 more."""

    def get(self, client, count, model, split="train"):
        if client == 1:
            raise UsageError("clients of client 1: no disk")
        if split == "test":
            assert count is None
            return Samples(np.zeros((2, 1)), np.zeros(2, np.int32))
        assert count == SIZES[client]
        return Samples(np.full(count, client + 1, np.int64), np.zeros(count, np.int32))


class Uncounted(Site):
    """The same, who are asked before anybody has counted."""

    def get(self, client, count, model, split="train"):
        assert count is None
        return super().get(client, SIZES[client], model, split)


def context_of(store, remaining_s=3600.0):
    return Context(store, time.time() + remaining_s, Memory())


def run(store, trainer=None, *, context=None, own_data=None, **changes):
    return train_clients(
        request(**changes),
        context or context_of(store),
        OneTrainer(trainer or Adding()),
        ShardCache(),
        RoundState(),
        own_data,
    )


def joined(store, replies, keys, **changes):
    answered = [one for reply in replies for one in reply.results if not one.refused]
    weight = math.fsum(SIZES[one.client] for one in answered)
    wanted = client_messages.CombineRequest(
        round=1,
        sum_keys=tuple(keys),
        updates=len(answered),
        weight=weight,
        before_key="state:0",
        state_key="state:1",
    )
    combine(replace(wanted, **changes), context_of(store))
    return read_tensors(store, "state:1")


def test_clients_begin_alike_and_are_averaged_by_samples(store):
    trainer = Adding()
    reply = run(store, trainer)
    assert reply.outcome == "ok"
    assert [(one.client, one.steps, one.samples) for one in reply.results] == [
        (0, 1, 4),
        (1, 3, 12),
        (2, 1, 1),  # Fewer samples than a batch are one step.
        (3, 8, 30),
    ]
    assert reply.steps == 13
    assert trainer.loads == 4
    state = joined(store, [reply], ["sum"])
    # A client adds its number plus 1 in each of its steps.
    wanted = (4 * 1 + 12 * 6 + 1 * 3 + 30 * 32) / 47
    assert state["model/w"] == pytest.approx([wanted] * 2, rel=1e-6)
    assert state["model/n"] == 8
    assert "optimizer/slot" not in state


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_whoever_trains_where_the_state_has_the_same_bits(store, order, cut):
    alone = joined(store, [run(store)], ["sum"])
    turns = [turn(client) for client in order]
    parts = [run(store, turns=tuple(turns[:cut]), sum_key="a")]
    parts += [run(store, turns=tuple(turns[cut:]), sum_key="b")]
    together = joined(store, parts, ["b", "a"])
    assert {name: value.tobytes() for name, value in together.items()} == {
        name: value.tobytes() for name, value in alone.items()
    }


def test_a_mean_is_written_in_pieces_of_any_size(store):
    reply = run(store)
    whole = joined(store, [reply], ["sum"])
    wanted = client_messages.CombineRequest(
        round=1, sum_keys=("sum",), updates=4, weight=47, before_key="state:0", state_key="s"
    )
    write_mean(store, wanted, "s", span_bytes=4)
    assert read_tensors(store, "s")["model/w"].tobytes() == whole["model/w"].tobytes()


def test_before_the_time_limit_the_rest_is_left_to_another_activation(store):
    context = context_of(store)
    trainer = Adding()

    def out_of_time():
        if trainer.loads == 2:
            object.__setattr__(context, "deadline_s", time.time())

    trainer.after_block = out_of_time
    first = run(store, trainer, context=context, sum_key="a")
    # The second client was in its turn, with two of three steps taken.
    assert first.outcome == "continued-time"
    assert [one.client for one in first.results] == [0]
    assert (first.begun.next_step, first.begun.samples) == (2, 8)
    assert read_tensors(store, "checkpoint")["optimizer/slot"] == 2
    rest = run(store, turns=ALL[1:], begun=first.begun, sum_key="b", segment=1)
    assert [(one.client, one.steps, one.samples) for one in rest.results] == [
        (1, 3, 12),
        (2, 1, 1),
        (3, 8, 30),
    ]
    in_two = joined(store, [first, rest], ["a", "b"])
    store.delete("state:1")
    assert in_two["model/w"].tobytes() == joined(store, [run(store)], ["sum"])["model/w"].tobytes()


def test_a_client_that_would_not_fit_any_more_is_begun_elsewhere(store):
    context = context_of(store)
    trainer = Adding()

    def slow():
        # As if each block had taken long.
        object.__setattr__(context, "deadline_s", time.time() + 2.2)
        time.sleep(0.05)

    trainer.after_block = slow
    reply = run(store, trainer, context=context, turns=(turn(0), turn(3)))
    assert reply.outcome == "continued-time"
    assert [one.client for one in reply.results] == [0]
    assert reply.begun is None
    assert store.open("checkpoint") is None


def held(store, labels):
    store.put("held", encode({"x": np.zeros((len(labels), 1)), "y": np.array(labels, np.int32)}))


def test_a_clients_model_is_scored_after_its_steps_and_averaged_as_ever(store):
    held(store, [1, 6, 6, 3, 6])
    turns = tuple(replace(one, score_keys=("held", one.shard_key)) for one in ALL[:2])
    reply = run(store, turns=turns, score_batch=2)
    # Weights 1 and 6; the clients' own classes are 0.
    assert [one.score for one in reply.results] == [
        client_messages.ScoreSums(samples=9, loss_sum=9.0, correct=1),
        client_messages.ScoreSums(samples=17, loss_sum=102.0, correct=3),
    ]
    plain = run(store, turns=ALL[:2], sum_key="plain")
    untimed = {"train_s": 0.0, "turn_s": 0.0}
    assert [replace(one, score=None, **untimed) for one in reply.results] == [
        replace(one, **untimed) for one in plain.results
    ]
    assert store.get("sum") == store.get("plain")


def test_the_models_of_a_round_are_scored_without_a_step_or_with_some_and_nothing_is_left(store):
    held(store, [3, 5, 3])
    start = {"model/w": np.full(2, 3, np.float32), "model/n": np.zeros((), np.int64)}
    store.put("state:4", encode(start))
    fields = {"state_key": "state:4", "initialise": False, "exponent": None, "open_key": None}
    before = set(store._blobs)
    as_it_is = replace(turn(1, epochs=0), shard_key="held", score_keys=("held",))
    reply = run(store, turns=(as_it_is, replace(turn(0), score_keys=("held",))), **fields)
    assert [one.score for one in reply.results] == [
        client_messages.ScoreSums(samples=3, loss_sum=9.0, correct=2),
        # One step of a client whose samples are 1.
        client_messages.ScoreSums(samples=3, loss_sum=12.0, correct=0),
    ]
    assert set(store._blobs) == before


def test_a_score_that_is_no_number_is_none(store):
    start = {"model/w": np.full(2, np.nan, np.float32), "model/n": np.zeros((), np.int64)}
    store.put("state:0", encode(start))
    nothing = replace(turn(1, epochs=0), score_keys=("shard:1",))
    trainer = Adding()
    trainer.score = lambda x, y: Scored(math.nan, 0)
    [result] = run(store, trainer, turns=(nothing,), exponent=None).results
    assert (result.score, result.refused) == (None, "")


def test_after_the_deadline_of_a_round_only_what_was_done_counts(store):
    trainer = Adding()
    until = []

    def late():
        if trainer.loads == 3:
            until.append(request_now.until_s)
            object.__setattr__(request_now, "until_s", time.time())

    trainer.after_block = late
    request_now = request(until_s=time.time() + 3600)
    reply = train_clients(
        request_now, context_of(store), OneTrainer(trainer), ShardCache(), RoundState()
    )
    assert until
    assert reply.outcome == "ok"
    assert [one.client for one in reply.results] == [0, 1, 2]
    wanted = (4 * 1 + 12 * 6 + 1 * 3) / 17
    assert joined(store, [reply], ["sum"])["model/w"][0] == pytest.approx(wanted, rel=1e-6)


def test_a_client_whose_update_is_no_number_goes_without_by_name(store):
    trainer = Adding()

    def break_one():
        if trainer.loads == 2:
            trainer.w = np.array([1, np.nan], np.float32)

    trainer.after_block = break_one
    reply = run(store, trainer)
    refused = {one.client: one.refused for one in reply.results if one.refused}
    assert refused == {1: "model/w is no longer finite (round 1)"}
    wanted = (4 * 1 + 1 * 3 + 30 * 32) / 35
    assert joined(store, [reply], ["sum"])["model/w"][0] == pytest.approx(wanted, rel=1e-6)


def test_a_client_that_diverges_goes_without_by_name(store):
    trainer = Adding()
    plain = trainer.train

    def train(x, y, *others):
        return math.nan if trainer.loads == 4 else plain(x, y, *others)

    trainer.train = train
    reply = run(store, trainer)
    assert reply.results[3].refused == "the loss became nan in round 1, step 2"
    assert read_header(store.existing("sum")).metadata["updates"] == "3"


def test_updates_that_a_strategy_must_see_are_stored_by_client(store):
    turns = tuple(turn(client, update_key=f"update:{client}") for client in (0, 1))
    reply = run(store, turns=turns, exponent=None)
    assert store.open("sum") is None
    blob = store.existing("update:1")
    assert read_header(blob).metadata["samples"] == "12"
    assert read_tensors(store, "update:1")["model/w"].tolist() == [6, 6]
    assert all(one.checksum for one in reply.results)


def test_an_activation_for_which_nobody_waits_stores_nothing(store):
    trainer = Adding()
    trainer.after_block = lambda: store.set_field("open", "closed", "1")
    with pytest.raises(Cancelled, match="round 1 is over"):
        run(store, trainer)
    assert store.open("sum") is None
    # The next round is open.
    store.put("state:1", encode(read_tensors(store, "state:0")))
    assert run(store, round=2, state_key="state:1").outcome == "ok"


def test_rates_and_terms_reach_the_trainer(store):
    trainer = Adding()
    run(store, trainer, turns=(turn(0, rate_factor=0.5), turn(2, rate_factor=0.25)))
    assert trainer.rates == [0.5, 0.25]
    assert trainer.terms is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"updates": 3}, "are made of 4 updates of weight 47, and 3 of weight 47 were reported"),
        ({"weight": 17.0}, "made of 4 updates of weight 47, and 4 of weight 17 were reported"),
        ({"sum_keys": ("sum", "gone")}, r"a sum of updates is missing \(gone\)"),
        ({"sum_keys": ("state:0",)}, "state:0 is no sum of updates"),
        ({"sum_keys": ()}, "are made of 0 updates"),
    ],
)
def test_a_join_of_something_else_is_refused(store, changes, said):
    reply = run(store)
    with pytest.raises(AggregationError, match=said):
        joined(store, [reply], ["sum"], **changes)
    assert store.open("state:1") is None


def test_where_no_client_has_its_data_each_is_told_by_its_own_reason(store):
    turns = (turn(1, shard_key=None, samples=SIZES[1]),)
    reply = run(store, own_data=Site(), turns=turns)
    assert [one.refused for one in reply.results] == ["clients of client 1: no disk"]


def test_models_are_scored_on_data_of_clients_own(store):
    start = {"model/w": np.zeros(2, np.float32), "model/n": np.zeros((), np.int64)}
    store.put("state:4", encode(start))
    fields = {"state_key": "state:4", "initialise": False, "exponent": None, "open_key": None}
    own = {"shard_key": None, "scores_own": True}
    as_it_is = tuple(turn(c, epochs=0, split="test", **own) for c in (1, 2))
    reply = run(store, own_data=Site(), turns=as_it_is, **fields)
    assert [one.refused for one in reply.results] == ["clients of client 1: no disk", ""]
    assert reply.results[1].score == client_messages.ScoreSums(samples=2, loss_sum=0.0, correct=2)
    further = (turn(2, samples=SIZES[2], **own),)
    [result] = run(store, own_data=Site(), turns=further, **fields).results
    assert result.score == client_messages.ScoreSums(samples=2, loss_sum=6.0, correct=0)


def test_a_client_says_how_many_samples_it_has_and_nothing_is_trained_or_stored():
    store = MemoryStore()
    turns = tuple(turn(c, epochs=0, shard_key=None, counts=True) for c in (0, 1, 3))
    fields = {"state_key": "state:1", "initialise": False, "exponent": None, "open_key": None}
    reply = run(store, Adding(), own_data=Uncounted(), turns=turns, **fields)
    assert (reply.outcome, reply.steps) == ("ok", 0)
    assert [(one.samples, one.refused) for one in reply.results] == [
        (SIZES[0], ""),
        (0, "clients of client 1: no disk"),
        (SIZES[3], ""),
    ]
    assert store.open("sum") is None


def test_sums_of_two_rounds_are_not_joined(store):
    parts = [run(store, turns=ALL[:1], sum_key="a")]
    parts += [run(store, turns=ALL[1:], sum_key="b", exponent=12)]
    with pytest.raises(AggregationError, match="b is a sum of another round than a"):
        joined(store, parts, ["a", "b"])


@pytest.mark.parametrize("first", [1, 0])
def test_clients_with_data_of_their_own_leave_none_in_the_store(first):
    """The first client's data cannot be had, or a later one's: the others train all the same."""
    store = MemoryStore()
    order = [first, *(client for client in SIZES if client != first)]
    turns = tuple(turn(c, shard_key=None, samples=SIZES[c]) for c in order)
    reply = run(store, own_data=Site(), turns=turns)
    assert reply.outcome == "ok"
    refused = {one.client: one.refused for one in reply.results if one.refused}
    assert refused == {1: "clients of client 1: no disk"}
    wanted = (4 * 1 + 1 * 3 + 30 * 32) / 35
    assert joined(store, [reply], ["sum"])["model/w"][0] == pytest.approx(wanted, rel=1e-6)
    assert store.delete_prefix("shard") == 0


class Seeing(Adding):
    """Keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def train(self, x, y, *others):
        self.seen += x.ravel().tolist()
        return super().train(x, y, *others)


def test_a_client_that_uses_some_of_its_samples_draws_them_whatever_their_order_says(store):
    store.put("shard:3", encode({"x": np.arange(30), "y": np.zeros(30, np.int32)}))

    def seen(uses):
        trainer = Seeing()
        run(store, trainer, turns=(replace(ALL[3], uses=uses, stop_step=math.ceil(uses / 4)),))
        return sorted(trainer.seen)

    few, more = seen(8), seen(20)
    assert len(few) == 8
    assert few != list(range(8))
    # Whoever is given more to do sees the same ones, and others.
    assert set(few) < set(more)
