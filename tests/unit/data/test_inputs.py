"""New samples are read as those of the data set were, and what is changed or left out is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from disdel.controller.inference.inputs import read_inputs
from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled, raw_split
from disdel.errors import DatasetError, UsageError
from disdel.settings.read_options import TableOptions
from disdel.types import Reading, Scaling
from tests.support.inputs import GREY, IMAGES, imported, npz, save, spec


@pytest.mark.parametrize(
    ("names", "labels", "numbers"),
    [
        (("1", "2", "3"), [1, 2, 2], [0, 1, 1]),
        (("1", "2", "3"), [3.0, 1.0, 2.0], [2, 0, 1]),
        (("1", "2", "3"), ["3", "1", "2"], [2, 0, 1]),
        (("1", "2", "3"), np.array(["3", "1", "2"], "S"), [2, 0, 1]),
        (("1", "2", "3"), [[3], [1], [2]], [2, 0, 1]),
        (("-1", "1"), [-1, 1, -1], [0, 1, 0]),
        (("cat", "dog"), ["dog", "cat", "dog"], [1, 0, 1]),
        (("caf\u00e9", "dog"), ["cafe\u0301", "dog", "dog"], [0, 1, 1]),
        (("False", "True"), [True, False, True], [1, 0, 1]),
        ((), [0, 2, 1], [0, 2, 1]),
    ],
)
def test_labels_of_new_samples_are_names_and_no_class_numbers(tmp_path, names, labels, numbers):
    path = npz(tmp_path / "new.npz", x=np.zeros((3, 3)), y=np.array(labels))
    inputs = read_inputs(path, spec(classes=len(names) or 3, names=names))
    assert inputs.y.tolist() == numbers


@pytest.mark.parametrize(
    ("names", "labels", "unknown"),
    [
        (("1", "2", "3"), [0, 1, 2], "0"),
        (("-1", "1"), [0, 1, 1], "0"),
        (("cat", "dog"), ["dog", "cow", "cat"], "cow"),
        (("cat", "dog"), [0, 1, 1], "0"),
        ((), [0, 1, 3], "3"),
    ],
)
def test_a_label_that_no_class_has_is_named(tmp_path, names, labels, unknown):
    path = npz(tmp_path / "new.npz", x=np.zeros((3, 3)), y=np.array(labels))
    with pytest.raises(UsageError, match=f"label '{unknown}' is none of the classes of made"):
        read_inputs(path, spec(classes=len(names) or 3, names=names))


def test_labels_that_are_not_there_are_not_needed(tmp_path):
    for arrays in ({"x": np.ones((2, 3))}, {"x_test": np.ones((2, 3))}, {"odd": np.ones((2, 3))}):
        assert read_inputs(npz(tmp_path / "new.npz", **arrays), spec()).y is None
    (tmp_path / "new.npz").rename(tmp_path / "NEW.NPZ")
    assert read_inputs(tmp_path / "NEW.NPZ", spec()).x.shape == (2, 3)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.array([[0, 0, 0], [0, np.nan, 0]])}, "sample 1 .* holds NaN"),
        ({"x": np.full((2, 3), np.inf)}, "sample 0 .* infinity"),
        ({"x": np.full((2, 3), 1e39)}, "sample 0 .* beyond float32"),
        ({"x": np.ones((2, 4))}, r"samples of shape \(4,\) .* made has \(3,\)"),
        ({"x": np.ones((2, 3), complex)}, "type complex128"),
        ({"x": np.ones((0, 3))}, "holds no samples"),
        ({"x": np.ones((2, 3)), "y": np.ones(3, int)}, "2 samples and 3 labels"),
        ({"x": np.ones((2, 3)), "y": np.eye(2)}, "one-hot: give y.argmax"),
        ({"x": np.ones((2, 3)), "y": np.ones((2, 2), int)}, r"shape \(2,\) a sample, .* have \(\)"),
        ({"a": np.ones((2, 3)), "b": np.ones(2)}, "holds a, b; needed are"),
        ({"x": np.array([{}, {}])}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_samples_of_the_data_set(tmp_path, arrays, told):
    with pytest.raises(UsageError, match=told):
        read_inputs(npz(tmp_path / "new.npz", **arrays), spec())


@pytest.mark.parametrize(
    ("x", "options", "shape", "dtype", "said"),
    [
        (np.ones((4, 3, 9, 9)), {}, (9, 9, 3), "float32", "channels first"),
        (np.full((4, 3, 9, 9), 200), {}, (9, 9, 3), "uint8", "channels first"),
        (np.full((4, 3, 9, 9), 200), {"samples": "numbers"}, (3, 9, 9), "int32", None),
        (np.full((4, 9, 9), 200), {}, (9, 9, 1), "uint8", "int64 9×9 taken as images"),
        (np.full((4, 9, 9), 5), {}, (9, 9), "int32", "taken as numbers"),
        (np.full((4, 9, 9), 5), {"samples": "images"}, (9, 9, 1), "uint8", None),
        (np.full((4, 50, 6), 200), {}, (50, 6), "int32", "taken as numbers"),
        (np.full((4, 9, 9, 3), 50_000, np.uint16), {}, (9, 9, 3), "int32", "taken as numbers"),
        (np.ones((4, 9, 9)), {}, (9, 9), "float32", "taken as numbers"),
        (np.ones((4, 9, 9)), {"samples": "images"}, (9, 9, 1), "float32", None),
        (np.ones((4, 9, 9), bool), {}, (9, 9, 1), "uint8", "black and white"),
        (np.ones((4, 9, 9), np.uint8), {}, (9, 9, 1), "uint8", "black and white"),
        (np.full((4, 9, 9), 200, np.uint8), {}, (9, 9, 1), "uint8", None),
        (np.full((4, 5), 200, np.uint8), {}, (5,), "int32", None),
    ],
)
def test_what_arrays_are_taken_for_is_told_and_done_again(tmp_path, x, options, shape, dtype, said):
    x.flat[0] = 0
    path = npz(tmp_path / "set.npz", x=x, y=np.arange(4) % 2, more=np.ones(1))
    content, told = imported(path, **options)
    train = content.splits["train"].x
    assert (train.shape[1:], train.dtype.name) == (shape, dtype)
    assert any("arrays left out: more" in line for line in told)
    assert said is None or any(said in line for line in told)
    new = read_inputs(path, spec(shape, dtype, 2, reading=content.reading))
    np.testing.assert_array_equal(new.x, train)


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_bytes_that_may_be_small_images_or_sequences_are_asked_about(tmp_path, dtype):
    x = np.ones((4, 20, 6), dtype)
    with pytest.raises(DatasetError, match=r"--samples images\|numbers, or"):
        raw_split(x, np.arange(4), "here")
    for samples, shape in (("images", (20, 6, 1)), ("numbers", (20, 6))):
        split = raw_split(x, np.arange(4), "here", ReadOptions(samples=samples))
        assert split.x.shape[1:] == shape


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.ones((2, 8, 8), np.float32), "is float32, from 1 to 1; .* whole numbers from 0 to 255"),
        (np.full((2, 8, 8), 256), "pixels are from 256 to 256; needed are 0 to 255"),
        (np.full((2, 8, 8), -1), "pixels are from -1"),
        (np.ones((2, 8, 8), bool), "truth values"),
    ],
)
def test_pixels_that_differ_from_the_data_sets_are_refused(tmp_path, x, told):
    with pytest.raises(UsageError, match=told):
        read_inputs(npz(tmp_path / "new.npz", x=x), IMAGES)


def test_a_test_split_is_read_as_the_training_split(tmp_path):
    train, test = np.full((4, 9, 9), 200), np.ones((2, 9, 9), int)
    y = np.arange(4) % 2
    np.savez(tmp_path / "s.npz", x_test=test, y_test=y[:2], x_train=train, y_train=y)
    splits = read_source(tmp_path / "s.npz")
    assert splits["test"].x.dtype == np.uint8
    assert splits["test"].x.max() == 1


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["a", "b", "a", "b"], dtype=object), ("a", "b")),
        (np.array([1, 2, 1, 2], dtype=object), ("1", "2")),
        (np.array([True, False, True, False]), ()),
        (np.array([1.0, 2.0, 1.0, 2.0]), ("1", "2")),
        (np.array(["b", "a", "b", "a"], dtype="S"), ("a", "b")),
    ],
)
def test_labels_of_any_type(labels, names):
    content = labelled({"train": raw_split(np.ones((4, 2)), labels, "here")}, "here")
    assert (content.classes, content.class_names) == (2, names)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.array(["a", None, "a", "b"], dtype=object), "types NoneType, str, as None"),
        (np.array(["a", 1, "a", "b"], dtype=object), "types int, str"),
        (np.array(["a", " ", "a", "b"]), "label of sample 1 .* is blank"),
        (np.array(["a", "b\nc", "a", "b"]), "label of sample 1 .* has a line break"),
        (np.array([1, 2, 3, 4], complex), "type complex128"),
        (np.array([0, -999, 1, 0]), "1 labels are -999"),
    ],
)
def test_labels_that_are_none(labels, told):
    with pytest.raises(DatasetError, match=told):
        labelled({"train": raw_split(np.ones((4, 2)), labels, "here")}, "here")


def test_objects_that_are_numbers_are_numbers():
    x = np.array([[1, 2.5], [True, 3]], dtype=object)
    assert raw_split(x, np.arange(2), "here").x.tolist() == [[1, 2.5], [1, 3]]
    x[1, 0] = "no"
    with pytest.raises(DatasetError, match=r"samples are Python objects of types float, int, str"):
        raw_split(x, np.arange(2), "here")


def test_idx_files_are_read_for_inference_too(tmp_path):
    def idx(array):
        return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + bytes(array)

    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(GREY[np.newaxis]))
    inputs = read_inputs(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    assert (inputs.x.shape, inputs.y) == ((1, 8, 8, 1), None)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([2], np.uint8)))
    assert read_inputs(tmp_path, IMAGES).y.tolist() == [2]


@pytest.mark.parametrize(
    ("top", "told"),
    [(1, False), (8, False), (255, True), (0.01, True)],
)
def test_samples_of_another_scale_are_told(tmp_path, top, told):
    dataset = replace(spec(), scaling=Scaling(mean=(0.5, 0.5, 0.4), deviation=(0.3, 0.3, 1.0)))
    x = np.linspace(0, top, 30, dtype=np.float32).reshape(10, 3)
    inputs = read_inputs(npz(tmp_path / "new.npz", x=x), dataset)
    np.testing.assert_array_equal(inputs.x, x)
    assert any("are they scaled as those were?" in line for line in inputs.told) is told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": (8, 8)}, "--size is for image folders, and .* has arrays"),
        ({"label": "a"}, "--label is for tables"),
        ({"missing_marks": ("-1",)}, "--na is for tables"),
        ({"header": False}, "--header is for tables"),
    ],
)
def test_what_is_said_of_another_kind_of_source_is_not_ignored(tmp_path, options, told):
    with pytest.raises(UsageError, match=told):
        imported(npz(tmp_path / "a.npz", x=np.ones((4, 2)), y=np.arange(4) % 2), **options)


@pytest.mark.parametrize("shape", [(4, 9, 7, 3), (9, 7, 3)])
def test_channels_last_for_a_data_set_of_channels_first_says_both_shapes(tmp_path, shape):
    dataset = spec((9, 7, 3), "uint8", reading=Reading(channels_first=True))
    file = npz(tmp_path / "new.npz", x=np.zeros(shape, np.uint8))
    told = r"images 9×7×3, channels last, .* as 3×9×7: put them first, x.transpose\(0, 3, 1, 2\)"
    with pytest.raises(UsageError, match=told):
        read_inputs(file, dataset)


def test_shapes_of_a_data_set_of_channels_first_are_told_as_its_files_have_them(tmp_path):
    dataset = spec((9, 7, 3), "uint8", reading=Reading(channels_first=True))
    one = np.arange(3 * 9 * 7, dtype=np.uint8).reshape(3, 9, 7)
    np.testing.assert_array_equal(
        read_inputs(npz(tmp_path / "one.npz", x=one), dataset).x, one.transpose(1, 2, 0)[None]
    )
    other = npz(tmp_path / "other.npz", x=np.zeros((2, 3, 7, 9), np.uint8))
    with pytest.raises(UsageError, match=r"shape \(3, 7, 9\) .* has \(3, 9, 7\) \(channels first"):
        read_inputs(other, dataset)


def test_channels_that_are_put_last_are_told(tmp_path):
    file = npz(tmp_path / "new.npz", x=np.zeros((2, 3, 9, 7), np.uint8))
    inputs = read_inputs(file, spec((9, 7, 3), "uint8"))
    assert inputs.x.shape == (2, 9, 7, 3)
    assert any("3×9×7 have their channels first, which are put" in line for line in inputs.told)


TABLE = "size,colour,kind\n1.5,red,a\n2.5,grün,b\n3.5,red,a\n4.5,grün,b\n"


def of_table(tmp_path):
    """The data set of a table."""
    path = tmp_path / "train.csv"
    path.write_text(TABLE)
    split, _ = imported(path)
    return spec((3,), classes=2, names=("a", "b"), reading=split.reading)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        (TABLE.encode("cp1250"), {"encoding": "cp1250"}),
        (TABLE.replace(",", "|").encode(), {"delimiter": "|"}),
        (TABLE.replace(",", "\t").replace(".", ",").encode(), {"delimiter": "tab", "decimal": ","}),
    ],
)
def test_a_table_that_is_written_otherwise_is_read_as_said(tmp_path, written, options):
    known, path = of_table(tmp_path), tmp_path / "new.csv"
    path.write_bytes(written)
    found = read_inputs(path, known, TableOptions(**options))
    assert found.x.tolist() == [[1.5, 0, 1], [2.5, 1, 0], [3.5, 0, 1], [4.5, 1, 0]]
    assert found.y.tolist() == [0, 1, 0, 1]


def test_advice_on_a_table_to_predict_can_be_followed(tmp_path):
    known, path = of_table(tmp_path), tmp_path / "new.csv"
    path.write_text(TABLE.replace("2.5", "roughly"))
    with pytest.raises(UsageError, match=r"--na roughly counts it as missing$"):
        read_inputs(path, known)
    with pytest.raises(UsageError, match=r"values are missing: 'size' ×1$"):
        read_inputs(path, known, TableOptions(missing_marks=("roughly",)))
    with pytest.raises(UsageError, match="--decimal must be"):
        read_inputs(path, known, TableOptions(decimal="x"))


def test_what_is_said_of_tables_is_not_ignored_for_images(tmp_path):
    save(tmp_path / "digits" / "one.png", GREY)
    with pytest.raises(UsageError, match="--encoding is for tables"):
        read_inputs(tmp_path / "digits", IMAGES, TableOptions(encoding="utf-8"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, None),
        ({"by": ("patient",)}, "--by"),
        ({"decimal": ","}, "--decimal"),
        ({"missing_marks": ()}, "--na"),
    ],
)
def test_options_of_a_table_are_said_where_they_differ_from_what_is_guessed(options, said):
    assert TableOptions(**options).said == said
