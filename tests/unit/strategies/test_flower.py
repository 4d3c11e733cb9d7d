"""The same updates through Flower's strategies come to the same states, to 1e-6.

Flower cannot be installed beside the pinned packages (it wants a later `certifi`), so what its
strategies (`flwr.serverapp.strategy`) have made of these updates is in `flower.json`: one weight
vector, seven clients, three rounds, one client that lies far off.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from disdel import strategies as st
from disdel.protocol.messages import Advance, CollectRequest, Update
from disdel.store.codec import encode, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies.asking import parameters_of
from disdel.worker.collect import collect

FLOWER = json.loads((Path(__file__).parent / "flower.json").read_text())


def eta(number):
    """Flower corrects FedAdam's learning rate for the beginning of the moments."""
    return 0.1 * math.sqrt(1 - 0.99 ** (number + 1)) / (1 - 0.9 ** (number + 1))


CASES = {
    "fedavg": st.FedAvg(),
    "fedavgm": st.FedAvgM(lr=0.5, momentum=0.9),
    "fedadagrad": st.FedAdagrad(lr=0.1, tau=0.5),
    "fedadam": st.FedAdam(),
    "fedyogi": st.FedYogi(lr=0.01),
    "median": st.Median(),
    "trimmed-mean": st.TrimmedMean(beta=0.2),
    "krum": st.Krum(f=1),
    "multi-krum": st.MultiKrum(f=1, keep=4),
}


class Context:
    def __init__(self, store):
        self.store = store
        self.clock = self

    def ended(self, what):
        pass

    def phases(self):
        return None

    def peak_mb(self):
        return 60

    def working_set_mb(self):
        return 60


@pytest.mark.parametrize("name", CASES)
def test_flower_s_states(name, monkeypatch):
    # Flower begins second moments at 0.
    monkeypatch.setattr(type(CASES[name]), "first", lambda self, kept: 0.0)
    store = MemoryStore()
    state = np.array(FLOWER["begin"])
    store.put("state:0", encode({"w": state}))
    for number, moves in enumerate(FLOWER["moves"], start=1):
        strategy = replace(CASES[name], lr=eta(number)) if name == "fedadam" else CASES[name]
        updates = []
        for client, (move, count) in enumerate(zip(moves, FLOWER["counts"], strict=True)):
            key = f"update:{client}"
            store.put(key, encode({"w": state + move}, {"samples": str(count)}))
            made = {"client": client, "worker": 0, "attempt": 0, "key": key}
            updates.append(Update(**made, samples=count, weight=count))
        advance = Advance(
            strategy=strategy.name,
            parameters=parameters_of(strategy),
            mean_key="mean",
            before_key=f"state:{number - 1}",
            kept_key=f"kept:{number - 1}" if number > 1 and strategy.kept else None,
            new_kept_key=f"kept:{number}",
        )
        request = CollectRequest(
            round=number, updates=tuple(updates), state_key=f"state:{number}", advance=advance
        )
        collect(request, Context(store))
        state = read_tensors(store, f"state:{number}")["w"]
        assert state == pytest.approx(FLOWER["states"][name][number - 1], abs=1e-6), number
