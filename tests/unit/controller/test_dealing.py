"""Clients are dealt so that the containers end together."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.federating.dealing import deal
from disdel.controller.federating.roster import Roster
from disdel.data.partitioners import Partition
from disdel.types import FederateJob


def test_the_longest_come_first_and_the_rest_fills_up():
    seconds = {0: 1.0, 1: 5.0, 2: 1.0, 3: 3.0, 4: 2.0}
    assert deal(seconds, 2) == [[1, 0], [3, 4, 2]]


def test_no_container_is_without_clients():
    assert deal({7: 1.0}, 3) == [[7]]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60), st.integers(1, 8))
def test_each_client_has_one_container_and_none_waits_long(taken, containers):
    seconds = dict(enumerate(taken))
    hands = deal(seconds, containers)
    assert sorted(client for hand in hands for client in hand) == sorted(seconds)
    loads = [sum(seconds[client] for client in hand) for hand in hands]
    # Graham's bound for the longest first.
    least = max(max(taken), sum(taken) / len(hands))
    assert max(loads) <= (4 / 3) * least + max(taken) / 3 + 1e-9


@pytest.mark.parametrize("containers", [1, 2, 7])
def test_equal_clients_are_dealt_evenly(containers):
    hands = deal(dict.fromkeys(range(20), 1.0), containers)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1


def test_a_million_clients_take_few_bytes_each():
    clients = 1_000_000
    job = FederateJob(dataset="x", clients=clients, clients_per_round=100)
    partition = Partition(
        "iid",
        samples=clients,
        seed=0,
        read_labels=lambda: np.zeros(clients, np.int32),
    )
    tracemalloc.start()
    try:
        roster = Roster(job, partition.assignment(clients))
        cohorts = [roster.cohort(number) for number in (1, 2)]
        owned = [roster.positions(client) for cohort in cohorts for client in cohort]
        roster.typical(100)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes / clients < 200
    assert all(len(positions) == 1 for positions in owned)
    assert cohorts[0] != cohorts[1]
