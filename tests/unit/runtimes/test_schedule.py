import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.runtimes.schedule import Schedule, round_steps

schedules = st.builds(
    Schedule,
    samples=st.integers(1, 400),
    batch_size=st.integers(1, 80),
    seed=st.integers(0, 2**32 - 1),
    client=st.integers(0, 9),
)


def positions_of(schedule, start, stop, max_steps):
    """The positions trained on, step by step."""
    return [list(batch) for _, block in schedule.blocks(start, stop, max_steps) for batch in block]


@given(schedule=schedules, max_steps=st.integers(1, 40))
def test_an_epoch_sees_every_sample_once(schedule, max_steps):
    for epoch in range(2):
        first = epoch * schedule.steps_per_epoch
        batches = positions_of(schedule, first, first + schedule.steps_per_epoch, max_steps)
        assert len(batches) == schedule.steps_per_epoch
        assert sorted(position for batch in batches for position in batch) == list(
            range(schedule.samples)
        )
        assert all(len(batch) == schedule.batch_size for batch in batches[:-1])


@given(schedule=schedules, cuts=st.sets(st.integers(0, 900)), data=st.data())
def test_cutting_into_segments_changes_nothing(schedule, cuts, data):
    stop = 3 * schedule.steps_per_epoch
    whole = positions_of(schedule, 0, stop, 32)
    bounds = [0, *sorted(cut for cut in cuts if cut < stop), stop]
    pieces = []
    for start, end in itertools.pairwise(bounds):
        pieces += positions_of(schedule, start, end, data.draw(st.integers(1, 40)))
    assert pieces == whole


@given(schedule=schedules, start=st.integers(0, 50), length=st.integers(0, 50))
def test_samples_are_counted_as_they_are_drawn(schedule, start, length):
    drawn = sum(len(batch) for batch in positions_of(schedule, start, start + length, 7))
    assert schedule.samples_between(start, start + length) == drawn


@given(schedule=schedules)
def test_the_step_after_a_block_is_where_the_next_one_starts(schedule):
    step = 0
    for after, block in schedule.blocks(0, 2 * schedule.steps_per_epoch, 5):
        step += len(block)
        assert after == step


def test_epochs_and_clients_have_orders_of_their_own():
    schedule = Schedule(samples=100, batch_size=10, seed=1, client=0)
    other = Schedule(samples=100, batch_size=10, seed=1, client=1)
    assert not np.array_equal(schedule.order(0), schedule.order(1))
    assert not np.array_equal(schedule.order(0), other.order(0))


@pytest.mark.parametrize("sync", ["once", "epoch", 1, 3, 7, 100])
def test_rounds_cover_the_whole_training(sync):
    schedule = Schedule(samples=55, batch_size=10, seed=0, client=0)
    total = 4 * schedule.steps_per_epoch
    rounds = {"once": 1, "epoch": 4}.get(sync) or -(-total // sync)
    ranges = [
        round_steps(schedule, epochs=4, rounds=rounds, sync=sync, round_number=number)
        for number in range(1, rounds + 1)
    ]
    assert [step for start, stop in ranges for step in range(start, stop)] == list(range(total))


def test_a_shorter_shard_runs_out_before_the_last_round():
    # 21 and 20 samples at batch 10 are 3 and 2 steps an epoch; rounds follow the longer shard.
    short = Schedule(samples=20, batch_size=10, seed=0, client=1)
    assert round_steps(short, epochs=1, rounds=3, sync=1, round_number=2) == (1, 2)
    assert round_steps(short, epochs=1, rounds=3, sync=1, round_number=3) == (2, 2)


def test_what_was_drawn_ahead_is_not_drawn_again(monkeypatch):
    schedule = Schedule(53, 10, seed=5, client=31)
    schedule.draw_ahead(6, 30, 32, seeds=True)
    monkeypatch.delattr(np.random, "default_rng")
    monkeypatch.delattr(np.random, "SeedSequence")
    step, positions = next(schedule.blocks(6, 30, 32))
    assert (step, positions.shape) == (11, (5, 10))
    assert len(schedule.seeds(6, step)) == 5
