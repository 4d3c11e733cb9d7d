"""Sums of clients that began with other states than the last, and what a step comes to."""

import itertools
import time

import numpy as np
import pytest

from disdel.errors import AggregationError
from disdel.protocol import client_messages, messages
from disdel.store.codec import encode, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies import FedBuff
from disdel.strategies.asking import name_of, parameters_of
from disdel.strategies.base import Contribution
from disdel.strategies.exact_sum import ExactSum, exponent_for
from disdel.worker.combine import combine, encoded_sum
from disdel.worker.context import Context
from openwhisk_local.machine.container_memory import MemoryUse

NOW = np.float32(7)


class Memory:
    def use(self):
        return MemoryUse(used_bytes=1, peak_bytes=1, limit_bytes=1 << 30, critical=False)


def stepped(strategy, arrived, *, exponent=None, **changes):
    """What the server's 7 becomes of updates (what it began with, its change, staleness)."""
    store = MemoryStore()
    store.put("now", encode({"w": np.full(3, NOW)}, {}))
    done = [
        Contribution(client=client, steps=1, samples=1, loss=0.0, staleness=stale)
        for client, (_, _, stale) in enumerate(arrived)
    ]
    for client, (began, change, _) in enumerate(arrived):
        before = {"w": np.full(3, began, np.float32)}
        total = ExactSum(before, exponent or exponent_for([1.0] * len(arrived)))
        total.add({"w": before["w"] + np.float32(change)}, 1.0)
        store.put(f"sum:{client}", b"".join(map(bytes, encoded_sum(total, {}))))
    factors = tuple(strategy.weight(one) for one in done)
    fields = {
        "round": 4,
        "sum_keys": tuple(f"sum:{client}" for client in range(len(arrived))),
        "factors": factors,
        "updates": len(arrived),
        "weight": sum(factors),
        "before_key": "now",
        "state_key": "next",
        "advance": messages.Advance(
            strategy=name_of(strategy),
            parameters=parameters_of(strategy),
            mean_key="mean",
            before_key="now",
            kept_key=None,
            new_kept_key="kept",
            numbers=dict(strategy.numbers(done, len(done))),
            sums=(),
            sums_key=None,
        ),
    }
    request = client_messages.CombineRequest(**(fields | changes))
    combine(request, Context(store, time.time() + 60, Memory()))
    return read_tensors(store, "next")["w"]


def test_devices_count_and_not_the_versions_they_began_with():
    fresh = FedBuff(power=0.0)
    one_of_eleven = [(5.0, 1.0, 1), *((7.0, 0.0, 0) for _ in range(10))]
    assert stepped(fresh, one_of_eleven) == pytest.approx([7 + 1 / 11] * 3, rel=1e-6)
    three_versions = [(float(began), 1.0, began) for began in range(3) for _ in range(5)]
    assert stepped(fresh, three_versions) == pytest.approx([8] * 3, rel=1e-6)


def test_what_is_stale_counts_less_than_what_is_fresh():
    # 1 counts whole and 3 half; where all are as stale, they are as good.
    assert stepped(FedBuff(), [(7.0, 1.0, 0), (4.0, 4.0, 3)]) == pytest.approx([9] * 3)
    assert stepped(FedBuff(), [(4.0, 1.0, 3)]) == pytest.approx([8] * 3)
    assert stepped(FedBuff(lr=2), [(4.0, 1.0, 3)]) == pytest.approx([9] * 3)


def test_as_published_what_is_stale_makes_a_smaller_step():
    published = FedBuff(shrinks=True)
    assert stepped(published, [(7.0, 1.0, 0), (4.0, 1.0, 3)]) == pytest.approx([7.75] * 3)
    assert stepped(published, [(4.0, 1.0, 3)]) == pytest.approx([7.5] * 3)
    assert stepped(FedBuff(lr=2, shrinks=True), [(4.0, 1.0, 3)]) == pytest.approx([8] * 3)


def test_the_bits_are_the_same_in_whatever_order_updates_are_named():
    arrived = [(7.0, 0.1, 0), (6.3, 0.7, 1), (6.1, -0.3, 1), (2.0, 0.9, 4)]
    found = {stepped(FedBuff(), order).tobytes() for order in itertools.permutations(arrived)}
    assert len(found) == 1


def test_another_weight_than_that_of_the_sums_is_refused():
    with pytest.raises(AggregationError, match=r"of weight 1\.5, and 2 of weight 2 "):
        stepped(FedBuff(), [(7.0, 1.0, 0), (4.0, 1.0, 3)], weight=2.0)
