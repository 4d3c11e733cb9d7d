from __future__ import annotations

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled, raw_split
from disdel.errors import DatasetError

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 4, 5, 3)).astype(np.uint8)
GREY = IMAGES[..., :1]
LABELS = np.array([0, 1, 2, 0, 1, 2])


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def png_bytes(image):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def npz_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def image_files(images=IMAGES, prefix="", labels=LABELS):
    return {f"{prefix}c{label}/{i}.png": png_bytes(images[i]) for i, label in enumerate(labels)}


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("training.data", "training.target", "testing.data", "testing.target"),
    ],
)
def test_npz_splits_by_their_usual_names(tmp_path, keys):
    x, y, test_x, test_y = keys
    arrays = {x: IMAGES, y: LABELS, test_x: IMAGES[:2], test_y: LABELS[:2], "class_names": LABELS}
    np.savez(tmp_path / "set.npz", **arrays)
    source = read_source(tmp_path / "set.npz")
    assert set(source) == {"train", "test"}
    assert np.array_equal(source["train"].x, IMAGES)
    assert np.array_equal(source["train"].labels, LABELS)
    assert np.array_equal(source["test"].x, IMAGES[:2])


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels"), ("data", "target")])
def test_npz_without_splits_is_a_training_split(tmp_path, keys):
    np.savez(tmp_path / "set.npz", **dict(zip(keys, (IMAGES, LABELS[:, None]), strict=True)))
    source = read_source(tmp_path / "set.npz")
    assert list(source) == ["train"]
    assert source["train"].labels.shape == (6,)


@pytest.mark.parametrize("dot", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path, dot, packed):
    pack, gz = (gzip.compress, ".gz") if packed else (bytes, "")
    names = {
        dot: idx_bytes(GREY[..., 0]),
        dot.replace("images", "labels").replace("3", "1"): idx_bytes(LABELS),
        dot.replace("train", "t10k"): idx_bytes(GREY[:2, ..., 0]),
        dot.replace("train-images", "t10k-labels").replace("3", "1"): idx_bytes(LABELS[:2]),
    }
    write(tmp_path, {name + gz: pack(content) for name, content in names.items()})
    source = read_source(tmp_path)
    assert np.array_equal(source["train"].x, GREY)
    assert np.array_equal(source["train"].labels, LABELS)
    assert np.array_equal(source["test"].x, GREY[:2])
    alone = read_source(tmp_path / (dot + gz))
    assert list(alone) == ["train"]
    assert np.array_equal(alone["train"].x, GREY)


CSV_ROWS = [[0.5, -1.0], [2.0, 3.25], [1e3, 0.0]]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0.5,-1,0\n2,3.25,1\n1000,0,0\n", [0, 1, 0]),
        ("a,b,kind\n0.5,-1,cat\n2,3.25,dog\n1000,0,cat\n", ["cat", "dog", "cat"]),
        ("Label,a,b\n0,0.5,-1\n1,2,3.25\n\n0,1000,0\n", [0, 1, 0]),
        ("\ufeffa,class,b\r\n0.5,x,-1\r\n2,y,3.25\r\n1000,x,0\r\n", ["x", "y", "x"]),
        ("0.5,-1,1.0\n2,3.25,2.0\n1000,0,1.0\n", [1, 2, 1]),
    ],
)
def test_csv_with_and_without_header(tmp_path, text, labels):
    (tmp_path / "set.csv").write_text(text, encoding="utf-8", newline="")
    split = read_source(tmp_path / "set.csv")["train"]
    assert split.x.dtype == np.float32
    assert split.x.tolist() == CSV_ROWS
    assert split.labels.tolist() == labels


def test_csv_tables_named_after_their_splits(tmp_path):
    write(tmp_path, {"train.csv": b"a,label\n1,0\n2,1\n", "test.csv": b"a,label\n3,1\n"})
    source = read_source(tmp_path)
    assert source["test"].x.tolist() == [[3.0]]
    assert source["test"].labels.tolist() == [1]


@pytest.mark.parametrize("images", [IMAGES, GREY])
def test_image_folders_with_and_without_splits(tmp_path, images):
    write(tmp_path / "plain", image_files(images))
    plain = read_source(tmp_path / "plain")["train"]
    assert np.array_equal(plain.x, images[[0, 3, 1, 4, 2, 5]])
    assert plain.labels.tolist() == ["c0", "c0", "c1", "c1", "c2", "c2"]
    split = {**image_files(images, "train/"), **image_files(images[:3], "test/", LABELS[:3])}
    write(tmp_path / "split", split)
    assert len(read_source(tmp_path / "split")["test"].x) == 3


@pytest.mark.parametrize(
    "files",
    [
        {"set.npz": npz_bytes(x_train=IMAGES, y_train=LABELS)},
        {"sub/set.npz": npz_bytes(x_train=IMAGES, y_train=LABELS)},
        image_files(),
        image_files(prefix="train/"),
        {**image_files(prefix="my-images/"), "__MACOSX/my-images/c0/._0.png": b"no image"},
        image_files(prefix="my-images/train/"),
        {"set.csv": b"a,label\n1,0\n2,1\n"},
        {
            "train-images-idx3-ubyte": idx_bytes(GREY[..., 0]),
            "train-labels-idx1-ubyte": idx_bytes(LABELS),
        },
    ],
    ids=["npz", "npz below", "classes", "split", "wrapped", "wrapped split", "csv", "idx"],
)
def test_everything_can_be_zipped(tmp_path, files):
    source = read_source(zipped(tmp_path / "set.zip", files))
    assert list(source) == ["train"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "cannot be imported \\(it is empty\\). Known are .npz"),
        ({"notes.txt": b"hello"}, "cannot be imported \\(notes.txt\\)"),
        ({"a.npz": b"PK no"}, "not an archive of plain arrays"),
        ({"a.npz": npz_bytes(x_train=IMAGES)}, "no labels of the train split among x_train"),
        ({"a.npz": npz_bytes(foo=IMAGES)}, "holds foo; needed are x_train"),
        ({"a.npz": npz_bytes(x=IMAGES, images=IMAGES, y=LABELS)}, "two arrays hold the train"),
        ({"a.npz": npz_bytes(x=IMAGES, y=LABELS[:5])}, "6 samples and 5 labels"),
        ({"a.npz": npz_bytes(x=IMAGES[:0], y=LABELS[:0])}, "holds no samples"),
        ({"a.npz": npz_bytes(x=IMAGES, y=LABELS * np.nan)}, "labels are not all finite \\(nan"),
        ({"a.npz": npz_bytes(x=IMAGES, y=np.eye(6))}, "y.argmax\\(axis=1\\)"),
        ({"a.npz": npz_bytes(x=IMAGES * np.nan, y=LABELS)}, "sample 0 .* holds NaN"),
        ({"a.npz": npz_bytes(x=IMAGES.astype("U"), y=LABELS)}, "numbers are needed"),
        (
            {"a.npz": npz_bytes(x=IMAGES, y=np.array([0, None], dtype=object))},
            "not an archive of plain arrays",
        ),
        ({"a.npz": b"", "b.npz": b""}, "several archives"),
        ({"train-images-idx3-ubyte": idx_bytes(IMAGES)}, "no label file beside it"),
        (
            {
                "train-images-idx3-ubyte": idx_bytes(IMAGES)[:-1],
                "train-labels-idx1-ubyte": idx_bytes(LABELS),
            },
            "is damaged: its header says shape",
        ),
        (
            {"train-images-idx3-ubyte": b"oops!", "train-labels-idx1-ubyte": b"oops!"},
            "is not an IDX file",
        ),
        (
            {"train-images-idx3-ubyte.gz": b"oops!", "train-labels-idx1-ubyte.gz": b"oops!"},
            "damaged or not what its name says",
        ),
        ({"a.csv": b"a,label\n1,0\n2\n"}, "line 3: 1 columns, where the first line has 2"),
        ({"a.csv": b"a,label\n1,0\nhuh,1\n"}, "line 3: 'huh' is not a number"),
        ({"a.csv": b"a,label\nnan,0\n1,1\n"}, "line 2: values are missing: 'a' ×1; --missing"),
        ({"a.csv": b"a,label\n1,inf\n1,1\n"}, "line 2: the label is not finite: 'inf'"),
        ({"a.csv": b"a,label\n"}, "holds no samples"),
        ({"a.csv": b"a\n1\n"}, "not a table of features and a label"),
        ({"a.csv": b"\xff\xfe,1\n"}, "is not a CSV table"),
        ({"a.csv": b"1,2\n", "b.csv": b"1,2\n"}, "several tables"),
        ({"c0/a.png": b"no image", "c1/b.png": b""}, "a.png is not an image"),
        ({"c0/a.png": png_bytes(IMAGES[0])[:60], "c1/b.png": b""}, "damaged image|not an image"),
        (
            {"c0/a.png": png_bytes(IMAGES[0]), "c1/b.png": png_bytes(IMAGES[1][:3])},
            "height × width c1/b.png is 3×5, and c0/a.png is 4×5; --size 4x5",
        ),
        (
            {"good/c0/a.png": png_bytes(IMAGES[0]), "bad/c1/b.png": png_bytes(IMAGES[1])},
            "'bad' is not a split",
        ),
    ],
)
def test_bad_input_is_refused_with_the_reason(tmp_path, files, message):
    (tmp_path / "in").mkdir()
    with pytest.raises(DatasetError, match=message):
        read_source(write(tmp_path / "in", files))
    with pytest.raises(DatasetError, match=message):
        read_source(zipped(tmp_path / "in.zip", files))


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no file or folder .*absent\.npz"):
        read_source(tmp_path / "absent.npz")


@pytest.mark.parametrize("member", ["../c0/a.png", "/c0/a.png", "c0/../../a.png", "c0\\..\\a.png"])
def test_an_archive_that_leads_outside_of_itself_is_refused(tmp_path, member):
    path = zipped(tmp_path / "set.zip", {member: png_bytes(IMAGES[0]), **image_files()})
    with pytest.raises(DatasetError, match="leads outside of it"):
        read_source(path)


def test_a_damaged_archive_is_refused(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK but no")
    with pytest.raises(DatasetError, match="damaged or not what its name says"):
        read_source(tmp_path / "set.zip")


def test_pickles_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object), y=np.zeros(1, dtype=int))
    with pytest.raises(DatasetError, match="not an archive of plain arrays"):
        read_source(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (np.zeros((2, 8, 9), np.uint8), (8, 9, 1), np.uint8),
        (np.full((2, 4, 5, 3), 255, np.int64), (4, 5, 3), np.uint8),
        (np.full((2, 4, 5), 256, np.int64), (4, 5), np.int32),
        (np.zeros((2, 4, 5), np.float64), (4, 5), np.float32),
        (np.zeros((2, 7), np.uint8), (7,), np.int32),
        (np.zeros(2), (1,), np.float32),
    ],
)
def test_samples_become_images_or_numbers(x, shape, dtype):
    split = raw_split(x, np.arange(2), "here")
    assert (split.x.shape[1:], split.x.dtype) == (shape, dtype)


def test_booleans_are_black_and_white():
    split = raw_split(np.array([[[[True], [False]]], [[[False], [True]]]]), np.arange(2), "here")
    assert split.x.ravel().tolist() == [255, 0, 0, 255]


@given(st.lists(st.integers(-(2**40), 2**40), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_class_numbers_lead_back_to_the_labels(values):
    source = {"train": raw_split(np.zeros((len(values), 1)), np.array(values), "here")}
    content = labelled(source, "here", ReadOptions(targets="classes"))
    names = content.class_names or tuple(map(str, range(content.classes)))
    assert [int(names[number]) for number in content.labels["train"]] == values
    assert [int(name) for name in names] == sorted(set(values))


def test_text_labels_are_numbered_over_all_splits():
    splits = {"train": ["10", "9"], "test": ["11", "9"]}
    source = {
        name: raw_split(np.zeros((2, 1)), np.array(labels), "here")
        for name, labels in splits.items()
    }
    content = labelled(source, "here")
    assert content.class_names == ("9", "10", "11")
    assert content.labels["train"].tolist() == [1, 0]
    assert content.labels["test"].tolist() == [2, 0]


def test_splits_must_agree(tmp_path):
    x = {"train": np.zeros((2, 3)), "test": np.zeros((2, 4))}
    source = {name: raw_split(part, np.arange(2), "here") for name, part in x.items()}
    with pytest.raises(
        DatasetError, match="samples of 'train' are 3 float32, those of 'test' are 4"
    ):
        labelled(source, "here")


def test_one_class_is_refused():
    source = {"train": raw_split(np.zeros((2, 3)), np.zeros(2, int), "here")}
    with pytest.raises(DatasetError, match="one class only"):
        labelled(source, "here")
