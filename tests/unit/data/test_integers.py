"""Integers of a source: kept as such, in one dtype for all splits, exact however large."""

import numpy as np
import pytest

from disdel.data import check_integers
from disdel.data.sources.samples import labelled, raw_split
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions

TWO = np.arange(2)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.array([[1], [2]], np.int8), "int32"),
        (np.array([[1], [2]], np.int64), "int32"),
        (np.array([[1], [2**31 - 1]]), "int32"),
        (np.array([[-(2**31)], [2]]), "int32"),
        (np.array([[1], [2**31]]), "int64"),
        (np.array([[1], [2**63 - 1]], np.uint64), "int64"),
        (np.array([[1.0], [2.0]]), "float32"),
        (np.array([[True], [False]]), "float32"),
    ],
)
def test_integers_are_kept(x, dtype):
    split = raw_split(x, TWO, "here")
    assert split.x.dtype == dtype
    assert split.x.tolist() == x.tolist()


def test_integers_that_no_framework_holds_are_refused():
    with pytest.raises(DatasetError, match=r"18446744073709551615, .*\(int64\)"):
        raw_split(np.array([[1], [2**64 - 1]], np.uint64), TWO, "here")


@pytest.mark.parametrize(
    ("train", "test", "dtype"),
    [
        ([[1], [2]], [[3], [4]], "int32"),
        ([[1], [2]], [[3], [2**40]], "int64"),
        ([[1], [2**40]], [[3], [4]], "int64"),
        ([[1], [2]], [[3.0], [4.0]], "int32"),
        ([[1], [2]], [[3.5], [4.0]], "float32"),
        ([[1.5], [2.0]], [[3], [4]], "float32"),
    ],
)
def test_splits_have_one_dtype(train, test, dtype):
    first = raw_split(np.array(train), TWO, "here")
    other = raw_split(np.array(test), TWO, "here", first=first)
    content = labelled({"train": first, "test": other}, "here", ReadOptions(targets="classes"))
    assert {split.x.dtype.name for split in content.splits.values()} == {dtype}
    assert content.splits["test"].x.tolist() == test


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 1)])
def test_a_model_of_float32_is_refused_integers_that_it_cannot_tell_apart(shape):
    told = []
    x = np.array([[1, 100100033], [2, 100100034]]).reshape(shape)
    kept = raw_split(x, TWO, "here", ReadOptions(tell=told.append)).x
    assert kept.tolist() == x.tolist()
    assert any("column '1': integers beyond 16,777,216 are kept as they are" in t for t in told)
    with pytest.raises(DatasetError, match="entry 1 of the samples has 100100033 and 100100034"):
        check_integers(kept, "ids", "mlp")
    check_integers(kept[:, :1], "ids", "mlp")


def test_integers_that_the_user_takes_rounded_are_float32():
    x = np.array([[100100033, 1], [100100034, 2]])
    assert raw_split(x, TWO, "here", ReadOptions(rounded=True)).x.dtype == np.float32
