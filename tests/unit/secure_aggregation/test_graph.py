"""Who is whose neighbour: as few as are safe, and the same wherever it is worked out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import UsageError
from disdel.secure_aggregation.graph import COLLUDING, degree, least_answers, neighbours


@given(st.sets(st.integers(0, 10**6), min_size=3, max_size=60), st.integers(0, 2**256), st.data())
def test_the_graph_is_regular_and_mutual(clients, seed, data):
    count = data.draw(st.integers(1, len(clients) // 2)) * 2
    graph = neighbours(tuple(clients), min(count, len(clients) - 1), seed)
    assert graph.keys() == clients
    for client, around in graph.items():
        assert len(set(around)) == len(around) == min(count, len(clients) - 1)
        assert client not in around
        assert all(client in graph[other] for other in around)
    shuffled = random.Random(seed).sample(sorted(clients), len(clients))
    assert neighbours(shuffled, min(count, len(clients) - 1), seed) == graph


def test_a_small_cohort_shares_among_all():
    for clients in range(3, 30):
        found = degree(clients, 2 / 3)
        assert found.neighbours == clients - 1
        # With more than half, no two groups can be told different things.
        assert clients / 2 < found.threshold == least_answers(clients, 2 / 3)


@pytest.mark.parametrize("clients", [1000, 10_000])
def test_a_large_cohort_shares_among_few_and_these_are_enough(clients):
    found = degree(clients, 0.8)
    assert found.neighbours < 100
    drawn = random.Random(0)
    graph = neighbours(range(clients), found.neighbours, 1)
    staying = set(drawn.sample(range(clients), least_answers(clients, 0.8)))
    colluding = set(drawn.sample(range(clients), int(COLLUDING * clients)))
    for around in graph.values():
        assert len(staying.intersection(around)) >= found.threshold
        assert len(colluding.intersection(around)) < found.threshold


@pytest.mark.parametrize("clients", [1, 2])
def test_a_sum_of_so_few_hides_nobody(clients):
    with pytest.raises(UsageError, match="at least 3 clients a round"):
        degree(clients, 2 / 3)
    assert least_answers(3, 2 / 3) == 2
