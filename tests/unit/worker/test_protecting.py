"""Sums of clipped, noised and masked updates, from the clients to the next state."""

import math
from dataclasses import replace

import numpy as np
import pytest

from disdel.errors import AggregationError, UpdateRefused, UsageError
from disdel.models import built_in
from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.protocol.protection import COUNTS, LOSS_UNITS
from disdel.secure_aggregation import masks
from disdel.store.codec import encode, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.strategies.exact_sum import exponent_for
from disdel.worker.combine import encoded_sum, write_mean
from disdel.worker.protecting import Protection
from disdel.worker.secure import ClientSecrets, secure_stage

KEYS = RunKeys.of_turn("run", "turn")
SECRET = bytes(range(32)).hex()
ELEMENTS = 20_000
BEFORE = {
    "model/kernel": np.random.default_rng(0).normal(size=(ELEMENTS,)).astype(np.float32),
    "model/counter": np.array(3, np.int64),
}


class Clock:
    def ended(self, name):
        pass

    def phases(self):
        return None


class Surroundings:
    """What a stage needs of its context."""

    def __init__(self, store, secret):
        self.store, self.clock, self.client_secret = store, Clock(), secret

    def peak_mb(self):
        return 1

    working_set_mb = peak_mb


def changed(by):
    return {
        "model/kernel": BEFORE["model/kernel"] + np.float32(by),
        "model/counter": np.array(9, np.int64),
    }


def request(clients, *, clipping=None, secure=None, cohort=None, number=1):
    return client_messages.TrainClientsRequest(
        network=messages.Network(
            runtime="torch",
            model=built_in("mlp", input_shape=(4,), classes=2),
            optimizer="sgd",
            learning_rate=None,
            seed=0,
            threads=1,
        ),
        worker=0,
        round=number,
        segment=0,
        attempt=0,
        turns=(),
        micro_batches=1,
        block_steps=1,
        heed_memory=False,
        state_key=KEYS.state(0),
        initialise=False,
        exponent=exponent_for([1.0] * (cohort or len(clients))),
        sum_key=KEYS.sum(number, 0, 0, 0),
        checkpoint_key="c",
        progress_key=KEYS.progress,
        open_key=KEYS.open,
        clipping=clipping,
        secure=secure,
    )


def sum_of(store, sent, updates, key):
    """Store what a container makes of some clients' updates: who they are, and the key."""
    protection = Protection(sent, ClientSecrets(SECRET))
    added = protection.new_sum(BEFORE, sent.exponent)
    for client, by in updates.items():
        protection.add(added, client, changed(by), 1.0, loss_sum=0.5)
    protection.mask(added, list(updates), store)
    store.put_stream(key, encoded_sum(added, {}))
    return key


def combined(store, sent, sum_keys, updates, **fields):
    """The next state, and the counts."""
    store.put(KEYS.state(0), encode(BEFORE))
    wanted = client_messages.CombineRequest(
        round=sent.round,
        sum_keys=tuple(sum_keys),
        updates=updates,
        weight=float(updates),
        before_key=KEYS.state(0),
        state_key=KEYS.state(1),
        exponent=sent.exponent,
        counts=COUNTS,
        **fields,
    )
    _, counts = write_mean(store, wanted, KEYS.state(1), span_bytes=8_192)
    return read_tensors(store, KEYS.state(1)), counts


def mean_change(state):
    return state["model/kernel"].astype(np.float64) - BEFORE["model/kernel"]


def noise(deviation, key="00" * 32):
    return client_messages.AddedNoise(key=key, label="round 1", deviation=deviation)


def test_updates_are_clipped_and_counted():
    store, sent = MemoryStore(), request([0, 1], clipping=client_messages.Clipping(bound=2.0))
    # Norms of 1 and of 10.
    small, large = 1 / math.sqrt(ELEMENTS), 10 / math.sqrt(ELEMENTS)
    key = sum_of(store, sent, {0: small, 1: large}, "sum")
    state, counts = combined(store, sent, [key], 2, divisor=2.0)
    assert np.linalg.norm(mean_change(state)) == pytest.approx((1 + 2) / 2, rel=1e-4)
    assert counts == (0, LOSS_UNITS)
    # What counts is the server's: the largest of several clients is no sum.
    assert state["model/counter"] == 3


def test_the_denominator_is_fixed_when_fewer_reply():
    """A client that is away moves the mean by no more than its own update would have."""
    store, sent = MemoryStore(), request(range(10), clipping=client_messages.Clipping(bound=1000.0))
    key = sum_of(store, sent, dict.fromkeys(range(4), 1.0), "sum")
    state, _ = combined(store, sent, [key], 4, divisor=10.0)
    assert mean_change(state) == pytest.approx(0.4, abs=1e-5)


def test_the_server_adds_noise_once_and_the_same_to_a_repeated_request():
    """z=1, C=.5, ten clients: .05 in the mean, in however many sums they come."""
    store, sent = MemoryStore(), request(range(10), clipping=client_messages.Clipping(bound=0.5))
    keys = [sum_of(store, sent, dict.fromkeys(range(n, n + 5), 0.0), f"sum{n}") for n in (0, 5)]
    state, _ = combined(store, sent, keys, 10, divisor=10.0, noise=noise(0.5))
    assert np.std(mean_change(state)) == pytest.approx(0.05, rel=0.03)
    again, _ = combined(store, sent, keys, 10, divisor=10.0, noise=noise(0.5))
    assert np.array_equal(state["model/kernel"], again["model/kernel"])
    other, _ = combined(store, sent, keys, 10, divisor=10.0, noise=noise(0.5, "01" * 32))
    apart = mean_change(other) - mean_change(state)
    assert np.std(apart) == pytest.approx(0.05 * math.sqrt(2), rel=0.03)


def test_clients_add_their_shares_and_nobody_else():
    share = 0.5 / math.sqrt(10)
    clipping = client_messages.Clipping(bound=0.5, share=share)
    store, sent = MemoryStore(), request(range(10), clipping=clipping)
    key = sum_of(store, sent, dict.fromkeys(range(10), 0.0), "sum")
    state, counts = combined(store, sent, [key], 10, divisor=10.0)
    assert np.std(mean_change(state)) == pytest.approx(0.05, rel=0.03)
    assert counts == (10, 5 * LOSS_UNITS)
    drawn = sum_of(store, sent, {0: 0.0}, "again")
    assert store.get(drawn) != store.get(sum_of(store, sent, {0: 0.0}, "and again"))


def test_a_round_without_clients_is_noise_alone():
    store, sent = MemoryStore(), request(range(10), clipping=client_messages.Clipping(bound=0.5))
    state, counts = combined(store, sent, [], 0, divisor=10.0, noise=noise(0.5))
    assert np.std(mean_change(state)) == pytest.approx(0.05, rel=0.03)
    assert counts == (0, 0)


def test_what_cannot_be_clipped_is_refused():
    store, sent = MemoryStore(), request([0], clipping=client_messages.Clipping(bound=1.0))
    with pytest.raises(UpdateRefused, match="nothing can bound"):
        sum_of(store, sent, {0: math.nan}, "sum")
    tight = request([0], clipping=client_messages.Clipping(bound=1e-12))
    with pytest.raises(UsageError, match="raise --dp-clip"):
        sum_of(store, tight, {0: 1.0}, "sum")


class SecureRun:
    """A secure round through its requests: two containers, and what they have stored."""

    def __init__(self, updates, gone=(), masked=True, clipping=None):
        self.updates, self.gone, self.clipping = updates, set(gone), clipping
        self.masked = masked
        self.store = MemoryStore()
        self.hands = [[c for c in updates if c % 2 == half] for half in (0, 1)]
        self.session = client_messages.SecureSession(
            run=KEYS.run, round=1, attempt=0, threshold=2 / 3, claims_key=KEYS.claims
        )

    def stage(self, stage, clients, secret=SECRET):
        keys = []
        for worker, hand in enumerate(self.hands):
            keys.append(KEYS.secure(1, stage, worker, 0))
            asked = client_messages.SecureRequest(
                stage=stage,
                worker=worker,
                round=1,
                clients=tuple(c for c in hand if c in clients),
                session=self.session,
                to_key=keys[-1],
            )
            secure_stage(asked, Surroundings(self.store, secret))
        return tuple(keys)

    def run(self):
        """The next state, and the counts."""
        cohort = sorted(self.updates)
        self.session = replace(self.session, advert_keys=self.stage("advertise", cohort))
        shares = self.stage("share", cohort)
        self.session = replace(self.session, share_keys=shares, shared=tuple(cohort))
        secure = self.session if self.masked else None
        clipping = self.clipping or client_messages.Clipping(bound=1e6)
        sent = request(cohort, secure=secure, clipping=clipping)
        staying = [client for client in cohort if client not in self.gone]
        sums = [
            sum_of(
                self.store,
                sent,
                {c: self.updates[c] for c in hand if c in staying},
                KEYS.sum(1, worker, 0, 0),
            )
            for worker, hand in enumerate(self.hands)
        ]
        self.session = replace(self.session, summed=tuple(staying))
        reveals = self.stage("reveal", staying)
        self.session = replace(self.session, reveal_keys=reveals)
        return combined(
            self.store, sent, sums, len(staying), secure=self.session if self.masked else None
        )

    def stored(self):
        """Everything that a holder of the store can read, but the states that the server makes."""
        states = {KEYS.state(0), KEYS.state(1)}
        blobs = {k: bytes(v) for k, v in self.store._blobs.items() if k not in states}
        return blobs, self.store._fields


UPDATES = {client: (client - 2) / 8 for client in range(6)}


@pytest.mark.parametrize("gone", [(), (4,)])
def test_a_masked_sum_is_to_the_last_bit_the_sum(gone):
    state, counts = SecureRun(UPDATES, gone).run()
    staying = [client for client in UPDATES if client not in gone]
    store, sent = MemoryStore(), request(range(6), clipping=client_messages.Clipping(bound=1e6))
    plain = sum_of(store, sent, {client: UPDATES[client] for client in staying}, "sum")
    expected, plain_counts = combined(store, sent, [plain], len(staying))
    assert np.array_equal(state["model/kernel"], expected["model/kernel"])
    assert counts == plain_counts == (len(staying), len(staying) * LOSS_UNITS // 2)


@pytest.mark.parametrize("masked", [True, False])
def test_two_runs_of_one_sum_store_bytes_that_are_equally_likely(monkeypatch, masked):
    """A curious server has all that is stored, and it says nothing but the sum.

    In the second run, client 0 has what client 1 has had and the other way round; they are in two
    containers. For a generator of masks that is a random function there is another one, as likely,
    with which the second run stores what the first has stored.
    """

    def generator(shift):
        def words(seed, first, count):
            drawn = np.random.default_rng(np.frombuffer(seed, np.uint32))
            made = drawn.integers(0, 2**64, ELEMENTS + COUNTS, np.uint64)
            return (made + shift.get(seed, np.uint64(0)))[first : first + count]

        return words

    monkeypatch.setattr(masks, "mask", generator({}))
    first = SecureRun(UPDATES, masked=masked)
    state, _ = first.run()

    swapped = SecureRun({**UPDATES, 0: UPDATES[1], 1: UPDATES[0]}, masked=masked)
    unit = 2 ** request(range(6)).exponent
    after = [changed(UPDATES[client])["model/kernel"] for client in (0, 1)]
    changes = [np.float64(one - BEFORE["model/kernel"]) for one in after]
    units = [np.rint(one * unit).astype(np.int64) for one in changes]
    shift = np.concatenate([units[0] - units[1], np.zeros(COUNTS, np.int64)]).view(np.uint64)
    secrets, told = ClientSecrets(SECRET), swapped.session
    pair = secrets.keys(told, 0).mask_seed(secrets.keys(told, 1).advert())
    monkeypatch.setattr(masks, "mask", generator({pair: shift}))
    other, _ = swapped.run()

    assert np.array_equal(state["model/kernel"], other["model/kernel"])
    assert (swapped.stored() == first.stored()) is masked


def test_nobody_reveals_for_two_sums_of_one_session():
    """With the shares of a client's mask and those of its key, its update would lie open."""
    secure = SecureRun(UPDATES)
    secure.run()
    secure.session = replace(secure.session, summed=tuple(range(5)))
    with pytest.raises(AggregationError, match="would unmask single updates"):
        secure.stage("reveal", range(5))
    secure.session = replace(secure.session, summed=tuple(range(6)), shared=tuple(range(5)))
    with pytest.raises(AggregationError, match="would unmask single updates"):
        secure.stage("reveal", range(5))


def test_without_a_secret_there_are_no_keys():
    with pytest.raises(UsageError, match="no parameter client_secret"):
        SecureRun(UPDATES).stage("advertise", range(6), secret=None)


def test_the_noise_of_a_masked_update_is_the_same_when_it_is_sent_again():
    """Two masked sums of one container, with other noise each, would differ by that noise."""
    clipping = client_messages.Clipping(bound=0.5, share=1.0)
    first, second = (SecureRun(UPDATES, clipping=clipping) for _ in range(2))
    assert np.array_equal(first.run()[0]["model/kernel"], second.run()[0]["model/kernel"])


def test_a_state_between_two_activations_is_the_clients_alone():
    secure = SecureRun(UPDATES)
    sent = request([0], secure=secure.session)
    own, other = Protection(sent, ClientSecrets(SECRET)), Protection(sent, ClientSecrets("ff" * 32))
    sealed = own.sealed(0, "key", b"its weights")
    assert b"its weights" not in sealed
    assert own.opened(0, "key", sealed) == b"its weights"
    for wrong in (lambda: own.opened(1, "key", sealed), lambda: other.opened(0, "key", sealed)):
        with pytest.raises(AggregationError, match="changed on its way"):
            wrong()
