"""Tables that are read as an earlier one was: samples to predict, and held-out splits."""

from __future__ import annotations

import numpy as np
import pytest

from disdel.data.filling import filled
from disdel.data.sources import ReadOptions, read_inputs_of, read_source, targets_alike
from disdel.data.sources.samples import labelled
from disdel.errors import DatasetError
from tests.support.specs import dataset_spec


def test_a_test_table_is_filled_with_the_means_of_the_training_table(tmp_path):
    (tmp_path / "train.csv").write_text("a,b,label\n1,c,0\n,,1\n3,d,1\n")
    (tmp_path / "test.csv").write_text("a,b,label\n,c,0\n9,,1\n")
    told = []
    options = ReadOptions(missing="mean", tell=told.append)
    content = filled(labelled(read_source(tmp_path, options), "here", options), "here", told.append)
    assert content.splits["train"].x.tolist() == [[1, 1, 0], [2, 0, 0], [3, 0, 1]]
    assert content.splits["test"].x.tolist() == [[2, 1, 0], [9, 0, 0]]
    assert sum("1 missing categories taken as none" in line for line in told) == 2


@pytest.fixture
def like(table):
    """A data set that was made from a table, and what reads others as it."""
    text = "colour,size,index,cat\n" + "".join(
        f"{'red' if i % 2 else 'blue'},{i}.5,{i},{'yes' if i % 3 else 'no'}\n" for i in range(12)
    )
    content = table.read(text, drop=("index",), missing="mean")
    return dataset_spec(
        name="things",
        version="1.0.0",
        input_shape=content.splits["train"].x.shape[1:],
        input_dtype="float32",
        classes=content.classes,
        train_samples=9,
        test_samples=3,
        class_names=content.class_names,
        reading=content.reading,
    )


def read_new(table, like, text, name="new.csv"):
    (table.folder / name).write_text(text)
    table.told.clear()
    split = read_inputs_of(table.folder / name, ReadOptions(like=like, tell=table.told.append))
    y = None if split.labels is None else targets_alike(split.labels, like, name)
    return split, y


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("colour,size,index,cat\nred,1.5,0,yes\nblue,2.5,1,no\n", [1, 0]),
        ("size,cat,colour\n1.5,yes,red\n2.5,no,blue\n", [1, 0]),
        ("size;colour\n1.5;red\n2.5;blue\n", None),
        ("size,colour,cat\n1.5,red,\n2.5,blue,\n", None),
        ("size,colour,more\n1.5,red,7\n2.5,blue,8\n", None),
    ],
)
def test_new_tables_are_read_by_the_names_of_their_columns(table, like, text, labels):
    split, y = read_new(table, like, text, name="new.CSV")
    assert split.x.tolist() == [[0, 1, 1.5], [1, 0, 2.5]]
    assert split.names == ("line 2", "line 3")
    assert (None if y is None else y.tolist()) == labels
    assert table.says("left out: 'more'") is ("more" in text)


def test_a_missing_number_of_a_new_table_is_filled_as_before(table, like):
    split, _ = read_new(table, like, "size,colour\n,red\n1,\n")
    [size] = [c.fill for c in like.reading.table.columns if c.name == "size"]
    assert split.x.tolist() == [[0, 1, np.float32(size)], [0, 0, 1]]
    assert table.says("filled")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size\n1\n", "lacks columns 'colour'"),
        ("size,colour\n1,pink\n", "line 2: 'pink' in column 'colour', which has 'blue', 'red'"),
        ("size,colour\nhuge,red\n", "line 2: 'huge' is not a number"),
        ("size,colour\ninf,red\n", "line 2: 'inf' in column 'size' is no finite number"),
        ("size,colour,cat\n1,red,maybe\n", "label 'maybe' is none of the classes of things"),
        ("size,colour,cat\n1,red,yes\n1,red,\n", "line 3: values are missing: 'cat' ×1"),
        ("1,red\n2,blue\n", "lacks columns"),
    ],
)
def test_new_tables_that_differ_are_refused(table, like, text, message):
    with pytest.raises(DatasetError, match=message):
        read_new(table, like, text)


def test_a_table_for_samples_that_came_from_elsewhere(table, like):
    from dataclasses import replace

    from disdel.types import Reading, target_of

    arrays = replace(like, reading=Reading(), targets=(target_of(2),))
    for text in ("a,b,c\n1,2,3\n4,5,6\n", "1,2,3\n4,5,6\n"):
        assert read_new(table, arrays, text)[0].x.tolist() == [[1, 2, 3], [4, 5, 6]]
    split, y = read_new(table, arrays, "label,a,b,c\n1,1,2,3\n0,4,5,6\n")
    assert (split.x.tolist(), y.tolist()) == ([[1, 2, 3], [4, 5, 6]], [1, 0])
    with pytest.raises(DatasetError, match="5 columns, and things has 3 features"):
        read_new(table, arrays, "1,2,3,4,5\n")


def test_tables_without_a_header_go_by_position(table):
    text = "\n".join(f"{i % 3},{i}.5,{-i}.25" for i in range(12))
    content = table.read(text, label="1")
    spec = dataset_spec(
        name="t",
        version="1.0.0",
        input_shape=(2,),
        input_dtype="float32",
        classes=3,
        train_samples=9,
        test_samples=3,
        reading=content.reading,
    )
    split, y = read_new(table, spec, "2,1.5,2.5\n0,3.5,4.5\n")
    assert (split.x.tolist(), y.tolist()) == ([[1.5, 2.5], [3.5, 4.5]], [2, 0])
    split, y = read_new(table, spec, "1.5,2.5\n")
    assert (split.x.tolist(), y) == ([[1.5, 2.5]], None)


def test_a_test_table_is_read_by_the_names_of_the_training_table(tmp_path):
    (tmp_path / "train.csv").write_text("colour,a,label\n" + "red,1,x\nblue,2,y\n" * 5)
    (tmp_path / "test.csv").write_text("a,label,colour\n5,y,red\n")
    source = read_source(tmp_path)
    assert source["test"].x.tolist() == [[0, 1, 5]]
    assert source["test"].labels.tolist() == ["y"]
