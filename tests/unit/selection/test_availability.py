"""Who is there in a round, by chance or by a trace."""

import tracemalloc

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.selection import read_availability


def test_by_chance_each_round_and_seed_has_its_own_and_always_the_same():
    made = read_availability("0.3", clients=10_000, seed=1)
    first, second = made.present(1), made.present(2)
    assert abs(first.mean() - 0.3) < 0.02
    assert (first != second).any()
    assert (first == read_availability("0.3", clients=10_000, seed=1).present(1)).all()
    assert (first != read_availability("0.3", clients=10_000, seed=2).present(1)).any()


def test_who_is_always_there_is():
    assert read_availability("1", clients=100, seed=0).present(5).all()


def test_others_may_be_there_in_each_round_unless_all_always_are():
    assert list(read_availability("0.3", clients=9, seed=1).changes(range(3, 6))) == [3, 4, 5]
    assert list(read_availability("1", clients=9, seed=1).changes(range(3, 6))) == [3]


@pytest.fixture
def trace(tmp_path):
    def write(text):
        (tmp_path / "trace.csv").write_text(text)
        return str(tmp_path / "trace.csv")

    return write


def test_a_trace_has_spans_of_rounds(trace):
    path = trace("client,first_round,last_round\n0,1,3\n2,2,\n0,7,7\n\n")
    made = read_availability(path, clients=4, seed=0)
    there = {number: np.flatnonzero(made.present(number)).tolist() for number in range(1, 9)}
    assert there == {1: [0], 2: [0, 2], 3: [0, 2], 4: [2], 5: [2], 6: [2], 7: [0, 2], 8: [2]}
    assert made.changes(range(1, 9)) == [1, 2, 4, 7, 8]
    assert made.changes(range(3, 8)) == [3, 4, 7]
    assert made.changes(range(8, 9)) == [8]


def test_columns_stand_in_any_order(trace):
    path = trace("last_round, client, first_round\n3,1,2\n")
    assert read_availability(path, clients=2, seed=0).present(2).tolist() == [False, True]


@pytest.mark.parametrize("text", ["0", "1.5", "-0.1", "nan", "inf", "nowhere.csv"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(UsageError, match="--available is a probability above 0 and at most 1, or"):
        read_availability(text, clients=3, seed=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line of .* has nothing"),
        ("client,round\n", "the first line of .* has client, round"),
        ("client,first_round,last_round\n", "nobody is ever there"),
        ("client,first_round,last_round\n3,1,2\n", "line 2: client '3' is none of 0 to 2"),
        ("client,first_round,last_round\n,1,2\n", "line 2: client '' is none of"),
        ("client,first_round,last_round\n1,0,2\n", "line 2: rounds are counted from 1"),
        ("client,first_round,last_round\n1,,2\n", "line 2: rounds are counted from 1"),
        ("client,first_round,last_round\n1,3,2\n", "the last round, 2, is before the first, 3"),
        ("client,first_round,last_round\n1,x,2\n", "'x' is no whole number"),
        ("client,first_round,last_round\n1,1.5,2\n", "'1.5' is no whole number"),
        (
            "client,first_round,last_round\n1,1e99,2\n",
            "1e99 is beyond 2147483646; an open end is left empty",
        ),
        ("client,first_round,last_round\n1,1,inf\n", "'inf' is no whole number"),
        ("client,first_round,last_round\n1,2\n", "line 2: 2 columns, where 3 are needed"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_its_line(trace, text, message):
    with pytest.raises(UsageError, match=message):
        read_availability(trace(text), clients=3, seed=0)


def test_a_trace_of_many_clients_takes_few_bytes_each(tmp_path):
    clients = 20_000
    spans = "".join(f"{client},1,5\n{client},9,\n" for client in range(clients))
    (tmp_path / "trace.csv").write_text(f"client,first_round,last_round\n{spans}")
    tracemalloc.start()
    try:
        there = read_availability(str(tmp_path / "trace.csv"), clients=clients, seed=0)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [int(there.present(number).sum()) for number in (5, 6, 9)] == [clients, 0, clients]
    # Two spans of twelve bytes, in an array that has grown.
    assert most_bytes / clients < 80
