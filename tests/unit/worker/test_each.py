"""Strategies that see each update: which tensors they combine, who is left out, what it takes."""

import dataclasses
import json
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel import strategies
from disdel.errors import AggregationError, StrategyFailed, TrainingDiverged
from disdel.protocol.messages import UNTRAINED, Update
from disdel.store.codec import encode, read_header, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies.fedavg import FedAvg
from disdel.worker.each import combine

SHAPES = {
    "model/kernel": ((30, 7), np.float32),
    "model/moving": ((7,), np.float32),
    "model/wide": ((3,), np.float64),
    "model/seen": ((), np.int64),
    "optimizer/momentum": ((30, 7), np.float32),
    "optimizer/step": ((), np.int64),
}
FLOATS = [name for name, (_, dtype) in SHAPES.items() if np.dtype(dtype).kind == "f"]
ROBUST = {
    "median": strategies.Median(),
    "trimmed-mean": strategies.TrimmedMean(beta=0.2),
    "krum": strategies.Krum(f=1),
    "multi-krum": strategies.MultiKrum(f=1),
    "norm-clipping": strategies.NormClipping(),
}


def state(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(scale * rng.normal(0, 9, s)).astype(d) for name, (s, d) in SHAPES.items()
    }


def store_with(before, states):
    store = MemoryStore()
    store.put("before", encode(before))
    updates = []
    for client, tensors in enumerate(states):
        told = {"samples": str(10 + client), UNTRAINED: json.dumps(["model/moving"])}
        store.put(f"update:{client}", encode(tensors, told))
        updates.append(
            Update(
                client=client,
                worker=0,
                attempt=0,
                key=f"update:{client}",
                samples=10 + client,
                weight=10 + client,
            )
        )
    return store, updates


def combined(strategy, before, states, **options):
    store, updates = store_with(before, states)
    sources, left_out = combine(
        store, strategy, updates, before_key="before", state_key="state", **options
    )
    clients = [source.update.client for source in sources]
    return read_tensors(store, "state"), clients, left_out


def changes(before, states, name):
    return np.stack([np.float64(s[name]) - before[name] for s in states])


def lengths(before, states):
    model = [name for name in FLOATS if name.startswith("model/")]
    flat = np.concatenate(
        [changes(before, states, name).reshape(len(states), -1) for name in model], axis=1
    )
    return flat, np.linalg.norm(flat, axis=1)


def by_hand(name, before, states):
    """What a strategy makes of whole tensors."""
    flat, norms = lengths(before, states)
    weights = np.arange(10.0, 10 + len(states))
    near = np.sort(((flat[:, None] - flat) ** 2).sum(axis=2), axis=1)[:, 1:-2].sum(axis=1)
    chosen = np.argsort(near)
    shares = np.minimum(1, np.median(norms) / norms)

    def of(tensor):
        rows = changes(before, states, tensor)
        shaped = (-1,) + (1,) * (rows.ndim - 1)
        match name:
            case "median":
                change = np.median(rows, axis=0)
            case "trimmed-mean":
                change = np.sort(rows, axis=0)[1:-1].mean(axis=0)
            case "krum":
                change = rows[chosen[0]]
            case "multi-krum":
                keep = chosen[:-1]
                change = np.average(rows[keep], axis=0, weights=weights[keep])
            case "norm-clipping":
                change = np.average(rows * shares.reshape(shaped), axis=0, weights=weights)
        return (before[tensor] + change).astype(before[tensor].dtype)

    return of


@pytest.mark.parametrize("name", ROBUST)
@given(block_bytes=st.sampled_from([1, 5000, 8 << 20]))
def test_whole_networks(name, block_bytes):
    before, states = state(0), [state(seed) for seed in range(1, 7)]
    found, clients, left_out = combined(ROBUST[name], before, states, block_bytes=block_bytes)
    assert (clients, left_out) == (list(range(6)), {})
    of = by_hand(name, before, states)
    for tensor in FLOATS:
        np.testing.assert_allclose(found[tensor], of(tensor), rtol=1e-5, atol=1e-6)
    for tensor in ("model/seen", "optimizer/step"):
        assert found[tensor] == sorted(int(s[tensor]) for s in states)[2]


@pytest.mark.parametrize("name", ROBUST)
def test_a_hundredfold_update_ruins_nothing(name):
    """Neither in the weights, nor in statistics, counters and optimizers that are averaged."""
    before = state(0)
    honest = [
        {n: (before[n] + state(seed, 0.01)[n]).astype(before[n].dtype) for n in SHAPES}
        for seed in range(1, 7)
    ]
    poisoned = {n: (100 * honest[0][n]).astype(before[n].dtype) for n in SHAPES}
    found, _, _ = combined(ROBUST[name], before, [*honest, poisoned])
    for tensor in SHAPES:
        far = np.abs(np.float64(found[tensor]) - before[tensor]).max()
        farthest = max(np.abs(np.float64(h[tensor]) - before[tensor]).max() for h in honest)
        assert far <= 3 * farthest


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_who_sends_no_numbers_is_left_out(name, broken):
    before, states = state(0), [state(seed) for seed in range(1, 8)]
    expected, _, _ = combined(ROBUST[name], before, [states[0], *states[2:]])
    states[1]["optimizer/momentum"][3, 4] = broken
    found, clients, left_out = combined(ROBUST[name], before, states)
    assert clients == [0, 2, 3, 4, 5, 6]
    assert left_out == {1: "what is no number in optimizer/momentum"}
    if name in ("median", "trimmed-mean", "krum"):  # Weights go by the client.
        for tensor in SHAPES:
            np.testing.assert_array_equal(found[tensor], expected[tensor])


def test_what_was_infinite_before_stays_so():
    """As masks of attention, in the weights of which no number ever was."""
    before, states = state(0), [state(seed) for seed in range(1, 6)]
    for tensors in (before, *states):
        tensors["model/wide"][1] = -np.inf
    found, clients, _ = combined(ROBUST["median"], before, states)
    assert clients == list(range(5))
    assert found["model/wide"][1] == -np.inf
    assert np.isfinite(found["model/wide"][[0, 2]]).all()


def test_a_frozen_tensor_stays_as_it_is_to_the_bit():
    before, states = state(0), [state(seed) for seed in range(1, 8)]
    for tensors in states:
        tensors["model/kernel"] = before["model/kernel"]
    for strategy in ROBUST.values():
        found, _, _ = combined(strategy, before, states)
        np.testing.assert_array_equal(found["model/kernel"], before["model/kernel"])


def test_too_few_that_are_left_are_refused():
    before, states = state(0), [state(seed) for seed in range(1, 6)]
    states[2]["model/kernel"][0, 0] = np.nan
    with pytest.raises(StrategyFailed, match="needs at least 5 updates a round, and there are 4"):
        combined(ROBUST["krum"], before, states)
    for tensors in states:
        tensors["model/kernel"][0, 0] = np.nan
    with pytest.raises(TrainingDiverged, match="no client of the round has sent numbers alone"):
        combined(ROBUST["median"], before, states)


def test_updates_that_lie_alike_are_chosen_by_client():
    before = state(0)
    alike = [before | {"model/kernel": before["model/kernel"] + np.float32(1)} for _ in range(5)]
    store, updates = store_with(before, alike)
    chosen = dataclasses.replace(ROBUST["krum"])
    sources, _ = combine(store, chosen, updates[::-1], before_key="before", state_key="state")
    assert [source.update.client for source in sources] == list(range(5))


def test_the_state_says_what_it_is_made_of():
    store, updates = store_with(state(0), [state(seed) for seed in range(1, 4)])
    combine(store, ROBUST["median"], updates, before_key="before", state_key="state")
    metadata = read_header(store.existing("state")).metadata
    assert metadata["samples"] == "33"
    assert json.loads(metadata[UNTRAINED]) == ["model/moving"]


def test_what_is_counted_is_told_and_is_a_number_for_each():
    @dataclass(frozen=True)
    class Fewer(FedAvg):
        name = "test-fewer"
        sees_each = True

        def counted(self, weights, geometry):
            return weights[1:]

    states = [state(seed) for seed in range(1, 6)]
    store, updates = store_with(state(0), states)
    sources, _ = combine(store, ROBUST["krum"], updates, before_key="before", state_key="state")
    told = [source.collected().weight for source in sources]
    assert sorted(told)[:4] == [0] * 4
    assert max(told) == updates[int(np.argmax(told))].weight
    with pytest.raises(AggregationError, match=r"test-fewer counted \[4\] updates of 5"):
        combined(Fewer(), state(0), states)


def test_another_network_or_another_shape_is_refused():
    @dataclass(frozen=True)
    class Short(FedAvg):
        name = "test-short"
        sees_each = True

        def combine(self, changes, weights, geometry):
            return changes[0][:-1]

    states = [state(1), state(2)]
    with pytest.raises(AggregationError, match="test-short combined changes of"):
        combined(Short(), state(0), states)
    other = {name: value for name, value in state(0).items() if name != "model/wide"}
    with pytest.raises(AggregationError, match="another network than its state"):
        combined(ROBUST["median"], other, states)


def test_a_strategy_that_makes_no_numbers_of_numbers_is_named():
    @dataclass(frozen=True)
    class Divided(FedAvg):
        name = "test-divided"
        sees_each = True

        def combine(self, changes, weights, geometry):
            return np.full(changes.shape[1], np.nan)

    with pytest.raises(TrainingDiverged, match="test-divided made of changes that are numbers"):
        combined(Divided(), state(0), [state(1), state(2)])


def test_memory_does_not_grow_with_the_updates_or_the_model():
    def peak_of(count, elements):
        rng = np.random.default_rng(0)
        before = {"w": rng.normal(size=elements).astype(np.float32)}
        store, updates = store_with(before, [before] * count)
        tracemalloc.start()
        combine(store, ROBUST["norm-clipping"], updates, before_key="before", state_key="state")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # The store of this process holds the new state, too.
        return peak - 3 * 4 * elements

    small = peak_of(8, 1 << 19)
    assert peak_of(64, 1 << 19) < 1.2 * small
    assert small < 40 << 20
