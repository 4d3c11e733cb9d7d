from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.slices import equal_slices, take_turns


@given(samples=st.integers(0, 5000), workers=st.integers(1, 64))
def test_every_position_is_in_exactly_one_slice(samples, workers):
    slices = equal_slices(samples, workers)
    positions = [position for part in slices for position in range(part.start, part.stop)]
    assert positions == list(range(samples))
    assert [part.worker for part in slices] == list(range(workers))


@given(samples=st.integers(0, 5000), workers=st.integers(1, 64))
def test_sizes_differ_by_at_most_one(samples, workers):
    sizes = [part.samples for part in equal_slices(samples, workers)]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(steps=st.lists(st.integers(1, 1000), min_size=1, max_size=60), data=st.data())
def test_every_client_has_one_worker_and_no_worker_is_idle(steps, data):
    workers = data.draw(st.integers(1, len(steps)))
    turns = take_turns(steps, workers)
    assert len(turns) == workers
    assert all(turns)
    assert sorted(client for clients in turns for client in clients) == list(range(len(steps)))


@given(steps=st.lists(st.integers(1, 1000), min_size=1, max_size=60), data=st.data())
def test_the_busiest_worker_has_at_most_one_client_more_to_do_than_the_mean(steps, data):
    workers = data.draw(st.integers(1, len(steps)))
    busiest = max(
        sum(steps[client] for client in clients) for clients in take_turns(steps, workers)
    )
    assert busiest <= sum(steps) / workers + max(steps)


def test_as_many_clients_as_workers_or_fewer_are_one_each_in_their_order():
    assert take_turns([3, 9, 1], 3) == ((0,), (1,), (2,))
    assert take_turns([3, 9], 4) == ((0,), (1,), (), ())
