"""The secure sum: exact, whoever vanishes when, and silent about its parts."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disdel.errors import AggregationError, UsageError
from disdel.secure_aggregation import keys as key_parts
from disdel.secure_aggregation import masks
from disdel.secure_aggregation.graph import degree
from disdel.secure_aggregation.keys import ClientKeys, Session, secret_of_client
from disdel.secure_aggregation.records import Record, packed, unpacked
from tests.support.secure_round import MASTER, SecureRound

ELEMENTS = 50


def updates(clients, seed=0):
    drawn = np.random.default_rng(seed)
    return {c: drawn.integers(-(2**50), 2**50, ELEMENTS) for c in clients}


def groups(clients, number):
    return [list(clients)[first::number] for first in range(number)]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_sum_is_exact_whoever_vanishes_when(data):
    clients = data.draw(st.lists(st.integers(0, 10**6), min_size=3, max_size=12, unique=True))
    leaving = data.draw(st.permutations(clients))[: len(clients) // 3]
    gone = {stage: [] for stage in ("share", "mask", "reveal")}
    for client in leaving:
        gone[data.draw(st.sampled_from(sorted(gone)))].append(client)
    number = data.draw(st.integers(1, len(clients)))
    secure = SecureRound(updates(clients), groups(clients, number), gone=gone)
    assert np.array_equal(secure.run(), secure.expected())


def test_the_sum_is_exact_in_a_sparse_graph():
    clients, drawn = range(60), random.Random(0)
    assert degree(len(clients), 0.9).neighbours < len(clients) - 1
    leaving = drawn.sample(clients, 6)
    gone = {"share": leaving[:2], "mask": leaving[2:4], "reveal": leaving[4:]}
    secure = SecureRound(updates(clients), groups(clients, 4), threshold=0.9, gone=gone)
    assert np.array_equal(secure.run(), secure.expected())


def test_sums_wrap_around_as_integers_of_64_bits_do():
    clients = range(4)
    of_all = {c: np.full(ELEMENTS, 2**62 if c < 2 else -(2**62)) for c in clients}
    assert not SecureRound(of_all, groups(clients, 2)).run().any()


def test_below_the_threshold_there_is_no_sum():
    secure = SecureRound(updates(range(6)), groups(range(6), 2), gone={"reveal": [0, 1, 2]})
    with pytest.raises(AggregationError, match=r"3 of the 6 clients.* 4 must"):
        secure.run()


class _Streams:
    """A random function in the place of the masks' generator, which some seeds' values change."""

    def __init__(self, shifts):
        self.shifts = shifts

    def __call__(self, seed, first, count):
        drawn = np.random.default_rng(np.frombuffer(seed, np.uint32))
        words = drawn.integers(0, 2**64, ELEMENTS, np.uint64) + self.shifts.get(seed, 0)
        return words[first : first + count]


def _pair_seed(secure, client, other):
    own = ClientKeys.derive(secret_of_client(MASTER, client), secure.session, client)
    others = ClientKeys.derive(secret_of_client(MASTER, other), secure.session, other)
    return own.mask_seed(others.advert())


@pytest.mark.parametrize("gone", [{}, {"mask": [4]}, {"share": [4], "reveal": [5]}])
@pytest.mark.parametrize("masked", [True, False])
def test_a_curious_server_cannot_tell_two_runs_of_one_sum_apart(monkeypatch, masked, gone):
    """For every run there is one of other updates and the same sum that stores the same bytes.

    Clients 0 and 1 lie in two containers. What the one gives to the other in the second run, the
    mask of the pair takes back: with a generator that gives any words as likely, the second run is
    as likely as the first. What is stored is all that a holder of the store, the logs and the
    collecting action sees.
    """
    clients = range(6)
    first = SecureRound(updates(clients), groups(clients, 2), gone=gone, masked=masked)
    monkeypatch.setattr(masks, "mask", _Streams({}))
    total = first.run()

    given_away = np.random.default_rng(1).integers(-(2**40), 2**40, ELEMENTS)
    others = dict(first.updates)
    others[0], others[1] = others[0] + given_away, others[1] - given_away
    second = SecureRound(others, first.groups, gone=gone, masked=masked)
    # Client 0 adds the pair's mask, client 1 subtracts it.
    shift = (-given_away).view(np.uint64)
    monkeypatch.setattr(masks, "mask", _Streams({_pair_seed(second, 0, 1): shift}))

    assert np.array_equal(second.run(), total)
    assert (second.stored == first.stored) is masked


def test_no_secret_of_a_client_is_among_what_is_stored():
    gone = {"mask": [4], "reveal": [5]}
    secure = SecureRound(updates(range(6)), groups(range(6), 6), gone=gone)
    secure.run()
    stored = b"".join(secure.stored.values())
    for client in range(6):
        secret = secret_of_client(MASTER, client)
        own = ClientKeys.derive(secret, secure.session, client)
        for kept in (secret, own.mask_private, own.channel_private, own.self_seed):
            assert kept not in stored
        assert secure.updates[client].tobytes() not in stored
    assert MASTER not in stored


def test_what_is_revealed_is_one_secret_of_each_client():
    """Of those in the sum the mask's seed, of those that vanished the key: never both."""
    gone = {"mask": [4], "reveal": [5]}
    secure = SecureRound(updates(range(6)), groups(range(6), 2), gone=gone)
    secure.run()
    revealed = list(unpacked(secure.stored["reveals"]))
    pairs = [(one.client, one.other) for one in revealed]
    assert len(set(pairs)) == len(pairs)
    assert {holder for holder, _ in pairs} == {0, 1, 2, 3}


def test_what_was_changed_on_its_way_is_noticed(monkeypatch):
    def changed(name):
        class Changing(SecureRound):
            def _say(self, said, records):
                records = list(records)
                if said == name:
                    client, other, text = records[0]
                    records[0] = Record(client, other, text[:-1] + bytes([text[-1] ^ 1]))
                return super()._say(said, records)

        return Changing(updates(range(3)), groups(range(3), 3))

    with pytest.raises(AggregationError, match="changed on its way"):
        changed("shares").run()
    for name in ("adverts", "reveals"):
        with pytest.raises(AggregationError, match=r"not its own|no one secret"):
            changed(name).run()


def test_masks_are_a_stream_that_can_be_read_anywhere():
    whole = masks.mask(b"k" * 32, 0, 1000)
    for first, count in ((0, 1), (7, 9), (8, 8), (993, 7), (5, 0)):
        assert np.array_equal(masks.mask(b"k" * 32, first, count), whole[first : first + count])
    assert len(set(whole.tolist())) == 1000
    # RFC 8439, A.1, test vector 1: the stream of a key of zeros.
    assert masks.mask(bytes(32), 0, 2).tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    with pytest.raises(ValueError, match="no word"):
        masks.mask(b"k" * 32, masks.MOST_WORDS, 1)


def test_other_sessions_and_clients_have_other_keys():
    sessions = [Session("a", 1), Session("a", 2), Session("a", 1, 1), Session("a1", 1)]
    made = [
        ClientKeys.derive(secret_of_client(MASTER, client), session, client)
        for session in sessions
        for client in (0, 1)
    ]
    for purpose in ("mask_private", "channel_private", "self_seed", "share_seed"):
        assert len({getattr(one, purpose) for one in made}) == len(made)
    assert ClientKeys.derive(secret_of_client(MASTER, 1), sessions[0], 1) == made[1]


def test_a_short_secret_is_refused():
    with pytest.raises(UsageError, match="secret of client 7 has 8 bytes"):
        ClientKeys.derive(b"password", Session("a", 1), 7)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "disdel.secure_aggregation.primitives", None)
    monkeypatch.delattr("disdel.secure_aggregation.primitives", raising=False)
    with pytest.raises(UsageError, match=r"disdel\[privacy\]"):
        key_parts.cryptography()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9), st.binary(max_size=99))))
def test_records_come_back_or_are_cut_short(records):
    records = [Record(*one) for one in records]
    data = packed(records)
    assert list(unpacked(data)) == records
    if records:
        with pytest.raises(AggregationError, match="cut short"):
            list(unpacked(data[:-1]))


def test_the_room_loads_no_cryptography_until_it_is_used():
    code = (
        "import disdel.secure_aggregation.protocol, disdel.privacy.noise, sys, json;"
        "print(json.dumps([m for m in sys.modules if m in ('cryptography', 'dp_accounting')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
