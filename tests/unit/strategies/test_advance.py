"""The next state by a strategy: which tensors it is asked about, and what is kept of them."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import AggregationError, TrainingDiverged
from disdel.protocol.messages import UNTRAINED, Advance
from disdel.store.codec import encode, read_header, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies.asking import parameters_of
from disdel.strategies.base import Advanced
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.worker.advance import advance


@register
@dataclass(frozen=True)
class TwoMoments(FedAvg):
    """Keeps a sum of changes and one of squares, which begins at 1."""

    name = "test-two-moments"
    kept: ClassVar = {"sum": 0.0, "squares": 1.0}
    rate: float = 1.0

    def advance(self, block):
        change = block.mean - block.before
        total = block.kept["sum"] + change
        squares = block.kept["squares"] + change * change
        return Advanced(block.before + self.rate * total, {"sum": total, "squares": squares})


@register
@dataclass(frozen=True)
class Doubling(FedAvg):
    name = "test-doubling"
    dtype: str = "float64"

    def advance(self, block):
        return Advanced((2 * block.mean).astype(self.dtype))


SHAPES = {
    "model/wide": ((3,), np.float64),
    "model/kernel": ((30, 7), np.float32),
    "model/moving": ((7,), np.float32),
    "model/bias": ((7,), np.float32),
    "model/counter": ((), np.int32),
    "optimizer/momentum": ((30, 7), np.float32),
    "optimizer/step": ((), np.int64),
}
TRAINED = ("model/wide", "model/kernel", "model/bias")


def state(seed):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.normal(0, 9, s)).astype(d) for name, (s, d) in SHAPES.items()}


def request(strategy, **changes):
    fields = {
        "strategy": strategy.name,
        "parameters": parameters_of(strategy),
        "mean_key": "mean",
        "before_key": "before",
        "kept_key": None,
        "new_kept_key": "kept:1",
    }
    return Advance(**(fields | changes))


def store_with(mean, before):
    store = MemoryStore()
    told = {"samples": "7", UNTRAINED: json.dumps(["model/moving"])}
    store.put("mean", encode(mean, told))
    store.put("before", encode(before))
    return store


@given(span_bytes=st.integers(1, 1000))
def test_two_rounds_of_whole_networks(span_bytes):
    before, mean, second = state(1), state(2), state(3)
    store = store_with(mean, before)
    strategy = TwoMoments(rate=0.5)
    advance(store, request(strategy), "state:1", span_bytes=span_bytes)
    first = read_tensors(store, "state:1")
    store.put("mean", store.get("mean"))
    store.put("mean", encode(second, {"samples": "7", UNTRAINED: '["model/moving"]'}))
    again = request(strategy, before_key="state:1", kept_key="kept:1", new_kept_key="kept:2")
    advance(store, again, "state:2", span_bytes=span_bytes)
    found, kept = read_tensors(store, "state:2"), read_tensors(store, "kept:2")
    assert read_header(store.existing("state:2")).metadata["samples"] == "7"
    assert sorted(kept) == sorted(f"{name}/{t}" for name in strategy.kept for t in TRAINED)
    assert first.keys() == found.keys() == SHAPES.keys()
    for name in SHAPES:
        if name not in TRAINED:
            np.testing.assert_array_equal(first[name], mean[name])
            np.testing.assert_array_equal(found[name], second[name])
            continue
        change = mean[name].astype(np.float64) - before[name]
        np.testing.assert_allclose(first[name], before[name] + 0.5 * change, rtol=1e-6)
        total = change + (second[name] - first[name])
        np.testing.assert_allclose(kept[f"sum/{name}"], total, rtol=1e-4, atol=1e-5)
        squares = 1 + change**2 + (second[name] - first[name]) ** 2
        np.testing.assert_allclose(kept[f"squares/{name}"], squares, rtol=1e-4)
        np.testing.assert_allclose(found[name], first[name] + 0.5 * total, rtol=1e-4, atol=1e-4)


def test_without_anything_to_keep_only_the_state_is_written():
    mean = {name: value for name, value in state(2).items() if value.dtype != np.float64}
    store = store_with(mean, mean)
    advance(store, request(Doubling()), "state:1")
    assert store.open("kept:1") is None
    np.testing.assert_array_equal(
        read_tensors(store, "state:1")["model/kernel"], 2 * mean["model/kernel"]
    )


def test_elements_of_another_kind_are_refused():
    store = store_with(state(2), state(1))
    with pytest.raises(AggregationError, match=r"test-doubling made float16\[3\] of float64\[3\]"):
        advance(store, request(Doubling(dtype="float16")), "state:1")
    assert store.open("state:1") is None


def test_a_mean_of_another_network_is_refused():
    other = {name: value for name, value in state(1).items() if name != "model/bias"}
    store = store_with(state(2), other)
    with pytest.raises(AggregationError, match="another network"):
        advance(store, request(TwoMoments()), "state:1")


@register
@dataclass(frozen=True)
class NoNumbers(FedAvg):
    name = "test-no-numbers"

    def advance(self, block):
        return Advanced(block.mean * np.nan)


def test_a_strategy_that_makes_no_numbers_is_named():
    with pytest.raises(TrainingDiverged, match="strategy test-no-numbers made weights"):
        advance(store_with(state(1), state(2)), request(NoNumbers()), "state:1")
