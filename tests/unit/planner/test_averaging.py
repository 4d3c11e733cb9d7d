import math

from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.averaging import choose_averaging, level_sizes, most_parts
from disdel.types.units import MIB


def choose(workers, state=8 * MIB, **others):
    settings = {
        "asked": None,
        "payload_bytes": MIB,
        "cpus": 4,
        "memory_max_mb": 4096,
        "free_mb": math.inf,
        "rounds": 5,
    }
    return choose_averaging(workers, state, **(settings | others))


@given(st.integers(1, 100_000), st.integers(2, 5000))
def test_every_level_takes_all_parts_of_the_one_below(parts, fan_in):
    below = parts
    for size in level_sizes(parts, fan_in):
        assert (size - 1) * fan_in < below <= size * fan_in
        below = size
    assert below == 1


def test_few_parts_are_averaged_by_one_action():
    for workers in (1, 2, 4):
        assert choose(workers).actions == 1


def test_many_parts_are_averaged_in_a_tree_where_there_are_cpus_for_it():
    assert choose(256, cpus=16).actions > 1
    assert choose(256, cpus=16).elapsed_s < choose(256, cpus=16, asked=256).elapsed_s


def test_one_cpu_gains_nothing_from_a_tree():
    assert choose(64, cpus=1).actions == 1


def test_a_small_limit_makes_a_tree():
    small = choose(64, cpus=1, memory_max_mb=128)
    assert small.memory_mb <= 128
    assert small.actions > 1


def test_the_fan_in_that_is_asked_for_is_taken():
    assert choose(64, asked=4).fan_in == 4
    assert choose(64, asked=4).actions == 16 + 4 + 1


@given(st.integers(1, 50_000), st.integers(MIB // 8, 8 * MIB))
def test_no_request_names_more_parts_than_the_platform_takes(workers, payload_bytes):
    assert 2 <= choose(workers, payload_bytes=payload_bytes).fan_in <= most_parts(payload_bytes)


@given(st.integers(1, 1000), st.integers(1, 64), st.integers(128, 4096))
def test_more_room_never_slows_the_average(workers, cpus, free_mb):
    def elapsed_s(free_mb):
        return choose(workers, cpus=cpus, free_mb=free_mb).elapsed_s

    assert elapsed_s(2 * free_mb) <= elapsed_s(free_mb)
