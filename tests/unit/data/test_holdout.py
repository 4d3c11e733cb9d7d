from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.data.holdout import held_out_size, hold_out
from disdel.errors import DatasetError

label_lists = st.lists(st.integers(0, 12), min_size=2, max_size=400).map(
    lambda values: np.array(values, dtype=np.int32)
)


@given(label_lists)
def test_every_sample_is_in_exactly_one_part(labels):
    train, held = hold_out(labels)
    assert sorted([*train, *held]) == list(range(len(labels)))
    assert len(held) == held_out_size(len(labels))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()


@given(label_lists)
def test_classes_are_held_out_in_proportion(labels):
    _, held = hold_out(labels)
    share = len(held) / len(labels)
    for label, count in enumerate(np.bincount(labels)):
        assert abs(np.count_nonzero(labels[held] == label) - share * count) < 1


def test_the_same_labels_hold_out_the_same_samples():
    labels = np.repeat(np.arange(4, dtype=np.int32), 5)
    # Written out: another choice would silently change every reported accuracy.
    assert hold_out(labels)[1].tolist() == [1, 6, 12, 19]


@pytest.mark.parametrize(("samples", "held"), [(2, 1), (9, 1), (10, 2), (1797, 359)])
def test_a_fifth_is_held_out(samples, held):
    assert held_out_size(samples) == held


def test_at_most_ten_thousand_are_held_out():
    assert held_out_size(60_000) == 10_000


def test_one_sample_cannot_be_parted():
    with pytest.raises(DatasetError, match="at least 2 samples"):
        held_out_size(1)
