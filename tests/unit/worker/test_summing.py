"""Sums of clients' updates beside the mean's, and what of a state is in none of them."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from disdel.errors import AggregationError
from disdel.models import built_in
from disdel.protocol import client_messages, messages
from disdel.protocol.protection import COUNTS
from disdel.store.codec import encode, read_described, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies import FedAdam, Scaffold
from disdel.strategies.asking import name_of, parameters_of
from disdel.strategies.exact_sum import exponent_for
from disdel.worker.combine import combine
from disdel.worker.context import Context
from disdel.worker.protecting import Protection
from disdel.worker.secure import ClientSecrets
from disdel.worker.summing import RoundUpdates
from disdel.worker.unprotected import Unprotected
from openwhisk_local.machine.container_memory import MemoryUse

MAGNITUDES = (np.float32(10.0) ** np.arange(-40, 38, 6, dtype=np.float32)).astype(np.float32) / 3
BEFORE = {
    "model/moving": np.array([1.0, 2.0], np.float32),
    "model/b": np.array([0.5, -0.5, 0.25], np.float32),
    "model/n": np.array(3, np.int64),
    "model/frozen": np.append(MAGNITUDES, np.float32(-np.inf)),
    "model/w": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4),
}
TRAINED = ("model/w", "model/b")
UNTRAINED = json.dumps(sorted(BEFORE.keys() - set(TRAINED)))
RATES = {0: 0.1, 1: 0.03, 2: 0.7, 3: 0.2, 4: 1.3}


class Memory:
    def use(self):
        return MemoryUse(used_bytes=1, peak_bytes=1, limit_bytes=1 << 30, critical=False)


def after(client):
    """What a client makes of the state: of what is trained, and of statistics."""
    drawn = np.random.default_rng(client)
    made = {name: value.copy() for name, value in BEFORE.items()}
    for name in (*TRAINED, "model/moving"):
        made[name] = made[name] + drawn.normal(size=made[name].shape).astype(np.float32)
    return made


def turn(client):
    return client_messages.ClientTurn(
        client=client,
        shard_key="shard",
        start_step=0,
        stop_step=1,
        batch_size=1,
        weight=1.0,
        sums={"steps": RATES[client], "odd": (client - 2) / 3},
    )


TURNS = {client: turn(client) for client in RATES}


def request(**changes):
    plain = client_messages.TrainClientsRequest(
        network=messages.Network(
            runtime="torch",
            model=built_in("mlp", input_shape=(4,), classes=2),
            optimizer="sgd",
            learning_rate=None,
            seed=0,
            threads=1,
        ),
        worker=0,
        round=1,
        segment=0,
        attempt=0,
        turns=(),
        micro_batches=1,
        block_steps=1,
        heed_memory=False,
        state_key="state:0",
        initialise=False,
        exponent=exponent_for([1.0] * len(RATES)),
        sum_key="sum",
        checkpoint_key="c",
        progress_key="p",
        open_key=None,
        tells_untrained=True,
    )
    return replace(plain, **changes)


def exponents(*names):
    return {name: exponent_for([abs(one.sums[name]) for one in TURNS.values()]) for name in names}


def handed_in(store, clients, key, **changes):
    """Sum the updates of some clients in one container."""
    sent = request(sum_key=key, **changes)
    protection = Unprotected()
    if sent.clipping is not None:
        protection = Protection(sent, ClientSecrets(None))
    state, metadata = read_described(store, "state:0")
    frozen = json.loads(metadata.get("frozen", "[]"))
    updates = RoundUpdates(sent, store, protection, state, TRAINED, frozen)
    results = []
    for client in clients:
        result = client_messages.ClientResult(
            client=client, steps=1, samples=1, loss_sum=0.0, train_s=0.0
        )
        results.append(updates.add(TURNS[client], after(client), result))
    updates.hand_in(clients)
    return results


def advance_of(strategy, number=1, **changes):
    plain = messages.Advance(
        strategy=name_of(strategy),
        parameters=parameters_of(strategy),
        mean_key="mean",
        before_key=f"state:{number - 1}",
        kept_key=None if number == 1 else f"kept:{number - 1}",
        new_kept_key=f"kept:{number}",
        sums=strategy.sum_names(),
        sums_key="sums" if strategy.sum_names() else None,
    )
    return replace(plain, **changes)


def joined(store, keys, updates, advance=None, *, number=1, **changes):
    wanted = client_messages.CombineRequest(
        round=number,
        sum_keys=tuple(keys),
        updates=updates,
        weight=float(updates),
        before_key=f"state:{number - 1}",
        state_key=f"state:{number}",
        advance=advance,
        exponent=exponent_for([1.0] * len(RATES)),
    )
    combine(replace(wanted, **changes), Context(store, time.time() + 60, Memory()))
    return read_tensors(store, f"state:{number}")


def begun(metadata=None):
    store = MemoryStore()
    store.put("state:0", encode(BEFORE, metadata))
    return store


def bits(tensors):
    return {name: value.tobytes() for name, value in tensors.items()}


SCAFFOLD = {"took_part": 5, "clients": 20}


def scaffolded(*hands):
    """The next state and control variate of clients that trained in these containers."""
    store, of = begun(), {"exponents": exponents("steps")}
    for index, hand in enumerate(hands):
        handed_in(store, hand, f"sum:{index}", **of)
    keys = [f"sum:{index}" for index in reversed(range(len(hands)))]
    advance = advance_of(Scaffold(), numbers=SCAFFOLD)
    state = joined(store, keys, 5, advance, **of)
    return state, read_tensors(store, "kept:1")


def test_a_further_sum_is_of_what_gradients_train_alone_with_weights_of_its_own():
    state, kept = scaffolded(range(5))
    assert kept.keys() == {f"c/{name}" for name in TRAINED}
    for name in TRAINED:
        changes = {c: np.float64(after(c)[name]) - BEFORE[name] for c in RATES}
        wanted = -sum(RATES[c] * change for c, change in changes.items()) / 20
        assert kept[f"c/{name}"] == pytest.approx(wanted, rel=1e-6)
        mean = BEFORE[name] + sum(changes.values()) / 5
        assert state[name] == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("hands", [((3, 1), (4, 0, 2)), ((4,), (3,), (2,), (1,), (0,))])
def test_further_sums_have_the_same_bits_wherever_clients_have_trained(hands):
    alone, together = scaffolded(range(5)), scaffolded(*hands)
    assert [bits(one) for one in together] == [bits(one) for one in alone]


def test_weights_of_further_sums_may_be_of_either_sign_and_none():
    store = begun()
    handed_in(store, range(5), "sum", exponents=exponents("odd"))
    units = read_tensors(store, "sum")["further/odd"]
    found = units * 2.0 ** -exponents("odd")["odd"]
    flat = {c: np.append(made["model/b"], made["model/w"]) for c in RATES for made in [after(c)]}
    began = np.append(BEFORE["model/b"], BEFORE["model/w"])
    wanted = sum((c - 2) / 3 * (np.float64(flat[c]) - began) for c in RATES)
    # In the order of the stored state, whichever that is.
    assert sorted(found) == pytest.approx(sorted(wanted), abs=1e-7)


def test_what_cannot_be_added_is_in_no_sum():
    store = begun()
    changes = {"exponents": exponents("steps")}
    handed_in(store, [0], "one", **changes)
    sent = request(sum_key="two", **changes)
    updates = RoundUpdates(sent, store, Unprotected(), BEFORE, TRAINED, ())
    result = client_messages.ClientResult(client=1, steps=1, samples=1, loss_sum=0.0, train_s=0.0)
    broken = {**after(1), "model/w": np.full((2, 4), np.nan, np.float32)}
    told = updates.add(TURNS[1], broken, result)
    assert told.refused == "model/w is no longer finite (round 1)"
    updates.add(TURNS[0], after(0), result)
    updates.hand_in([0])
    assert bits(read_tensors(store, "two")) == bits(read_tensors(store, "one"))


@pytest.mark.parametrize("sent", [{}, {"exponents": exponents("steps", "odd")}])
def test_other_sums_than_a_strategy_wants_are_refused(sent):
    store = begun()
    handed_in(store, range(5), "sum", **sent)
    with pytest.raises(AggregationError, match="is a sum of updates of another network"):
        joined(
            *(store, ["sum"], 5, advance_of(Scaffold(), numbers=SCAFFOLD)),
            exponents=exponents("steps"),
        )


FROZEN = {"untrained": UNTRAINED, "frozen": json.dumps(["model/frozen"])}
CLIPPING = client_messages.Clipping(bound=1000.0)
NOISE = client_messages.AddedNoise(key="01" * 32, label="round 1", deviation=0.5)
PRIVATE = {"counts": COUNTS, "divisor": 5.0, "noise": NOISE}


def test_noise_goes_to_all_that_clients_change_and_leaves_what_is_frozen():
    store = begun(FROZEN)
    handed_in(store, range(5), "sum", clipping=CLIPPING)
    state = joined(store, ["sum"], 5, **PRIVATE)
    assert state["model/frozen"].tobytes() == BEFORE["model/frozen"].tobytes()
    plain = joined(store, ["sum"], 5, **{**PRIVATE, "noise": None}, state_key="state:1")
    added = np.concatenate(
        [(state[n] - plain[n]).reshape(-1) for n in ("model/w", "model/b", "model/moving")]
    )
    assert np.all(added != 0)
    # Its deviation is a fifth of the sum's.
    assert np.abs(added).max() < 1


def test_a_round_that_nobody_has_answered_leaves_what_is_frozen_and_is_followed_by_others():
    """Noise is added to no sum at all, and a server optimizer steps by it."""
    store, strategy = begun(FROZEN), FedAdam()
    first = joined(store, [], 0, advance_of(strategy), **PRIVATE)
    second = joined(
        *(store, [], 0, advance_of(strategy, 2)),
        number=2,
        **{**PRIVATE, "noise": replace(NOISE, label="round 2")},
    )
    for state in (first, second):
        assert state["model/frozen"].tobytes() == BEFORE["model/frozen"].tobytes()
    assert {name: value.shape for name, value in read_tensors(store, "kept:2").items()} == {
        f"{kept}/{name}": BEFORE[name].shape for kept in ("m", "v") for name in TRAINED
    }
    assert np.all(first["model/w"] != second["model/w"])


def test_a_frozen_tensor_that_changes_all_the_same_is_refused_by_name():
    store = begun({**FROZEN, "frozen": json.dumps(["model/moving"])})
    results = handed_in(store, [0, 1], "sum", clipping=CLIPPING)
    assert all(
        one.refused.startswith("model/moving is of a frozen layer, and the network's own code")
        for one in results
    )
    assert store.open("sum") is None


def test_the_norm_that_is_clipped_is_of_what_may_change():
    store = begun(FROZEN)
    change = np.concatenate(
        [(np.float64(after(0)[n]) - BEFORE[n]).reshape(-1) for n in (*TRAINED, "model/moving")]
    )
    bound = float(np.linalg.norm(change)) / 2
    handed_in(store, [0], "sum", clipping=client_messages.Clipping(bound=bound))
    state = joined(store, ["sum"], 1, **{**PRIVATE, "divisor": 1.0, "noise": None})
    moved = math.sqrt(
        sum(np.sum((np.float64(state[n]) - BEFORE[n]) ** 2) for n in (*TRAINED, "model/moving"))
    )
    assert moved == pytest.approx(bound, rel=1e-6)
