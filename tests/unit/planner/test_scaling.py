import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.scaling import next_workers


@st.composite
def histories(draw):
    """Workers that change by one at most, and the seconds of their epochs."""
    workers, epochs = draw(st.integers(1, 9)), []
    for change in [0, *draw(st.lists(st.integers(-1, 1), max_size=5))]:
        workers = max(1, workers + change)
        epochs.append((workers, draw(st.floats(0.1, 9))))
    return epochs


@given(epochs=histories(), most=st.none() | st.integers(1, 9), room=st.integers(1, 12))
def test_it_moves_by_one_at_most_and_breaks_no_limit(epochs, most, room):
    workers = next_workers(epochs, most=most, fits=lambda wanted: wanted <= room)
    before = epochs[-1][0]
    assert abs(workers - before) <= 1
    assert workers >= 1
    assert workers == before or (workers <= room and workers <= (most or workers))


@pytest.mark.parametrize("workers", [1, 4, 9])
def test_it_settles_around_where_an_epoch_is_fastest(workers):
    history = []
    for _ in range(20):
        history.append((workers, abs(4 - workers) + 1.0))
        workers = next_workers(history, most=None, fits=lambda wanted: True)
    assert {count for count, _ in history[8:]} <= {3, 4, 5}


def test_what_does_not_fit_is_not_tried():
    assert next_workers([(2, 1.0)], most=None, fits=lambda wanted: wanted < 3) == 2
    assert next_workers([(2, 1.0)], most=2, fits=lambda wanted: True) == 2
    assert next_workers([(2, 2.0), (1, 1.0)], most=None, fits=lambda wanted: True) == 1
