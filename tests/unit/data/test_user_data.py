"""Data sets that the user's own functions return, and numbers to predict from files."""

import sys

import numpy as np
import pytest

from disdel.data import bounds, describe_dataset, import_dataset, load_arrays
from disdel.data.holdout import hold_out
from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled
from disdel.data.user_splits import returned_splits
from disdel.errors import DatasetError, UsageError
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule

HEAD = """
import numpy as np
x = np.arange(20.0).reshape(10, 2)
classes = np.arange(10) % 2
numbers = np.arange(10.0)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "data.py"

    def write(body):
        path.write_text(f"{HEAD}\n{body}\n")
        return f"{path}:data"

    return write


@pytest.fixture
def returned(write):
    """What a function `data` that returns an expression is read as."""

    def returned(expression):
        code = collect(write(f"def data(): return {expression}"))
        return returned_splits(UserModule(code.ref, code.folder), code.ref.entry)

    return returned


@pytest.mark.parametrize(
    ("expression", "splits", "classes"),
    [
        ("x, classes", ["train"], 2),
        ("[x, classes]", ["train"], 2),
        ("(x, classes), (x[:4], classes[:4])", ["train", "test"], 2),
        ("{'train': (x, classes), 'test': (x, classes)}", ["train", "test"], 2),
        ("{'training': (x, classes), 'val': (x, classes)}", ["train", "validation"], 2),
        ("x, numbers", ["train"], 0),
        ("x, numbers[:, None]", ["train"], 0),
        ("x, classes.astype(str)", ["train"], 2),
        ("list(zip(x, classes))", ["train"], 2),
        ("{'train': zip(x, numbers)}", ["train"], 0),
    ],
)
def test_what_a_function_may_return(returned, expression, splits, classes):
    content = returned(expression)
    assert list(content.splits) == splits
    assert content.classes == classes
    train = content.splits["train"].x
    np.testing.assert_array_equal(train, np.arange(20).reshape(10, 2))
    wanted = np.arange(10) % classes if classes else np.arange(10)
    np.testing.assert_array_equal(content.labels["train"], wanted)
    assert content.labels["train"].dtype == (np.int32 if classes else np.float32)


@pytest.mark.framework
@pytest.mark.parametrize("batch", ["", ".batch(4)", ".batch(5, drop_remainder=True).prefetch(1)"])
@pytest.mark.parametrize("y", ["classes", "x > 7"])
def test_a_tensorflow_data_set_may_be_in_batches(returned, batch, y):
    """Also where the axes of a batch's samples and targets are of one size."""
    dataset = f"__import__('tensorflow').data.Dataset.from_tensor_slices((x, {y})){batch}"
    content = returned(f"{{'train': {dataset}}}")
    x = np.arange(20).reshape(10, 2)
    np.testing.assert_array_equal(content.splits["train"].x, x)
    np.testing.assert_array_equal(
        content.labels["train"], np.arange(10) % 2 if y == "classes" else x > 7
    )


LOADER = """
import torch
from torch.utils.data import DataLoader, TensorDataset
pairs = TensorDataset(torch.from_numpy(x), torch.from_numpy(classes))
def data(): return {}
"""


@pytest.mark.framework
@pytest.mark.parametrize(
    ("returned", "splits"),
    [
        ("DataLoader(pairs, batch_size=4)", ["train"]),
        ("DataLoader(pairs, batch_size=None)", ["train"]),
        ("pairs", ["train"]),
        ("DataLoader(pairs, batch_size=5), DataLoader(pairs, batch_size=3)", ["train", "test"]),
        ("pairs, pairs", ["train", "test"]),
        ("{'train': DataLoader(pairs, 10), 'val': pairs}", ["train", "validation"]),
    ],
)
def test_data_sets_of_pytorch_are_read_batch_by_batch(write, returned, splits):
    code = collect(write(LOADER.format(returned)))
    content = returned_splits(UserModule(code.ref, code.folder), code.ref.entry)
    assert list(content.splits) == splits
    for name in splits:
        np.testing.assert_array_equal(content.splits[name].x, np.arange(20).reshape(10, 2))
        np.testing.assert_array_equal(content.labels[name], np.arange(10) % 2)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("None", "train is None; needed is"),
        ("{'train': 7}", "train is an int; needed is"),
        ("{'first': (x, classes)}", "returned a split 'first'; needed is"),
        ("{'test': (x, classes)}", "has no training samples"),
        ("x", "yields ndarray where pairs are needed"),
        ("[]", "yields nothing where pairs are needed"),
        ("x, classes[:3]", "10 samples and 3 labels"),
        ("x, np.eye(10)", r"labels have shape \(10, 10\), .* one-hot: give y.argmax\(axis=1\)"),
        ("x, np.eye(3)[np.arange(20).reshape(10, 2) % 3]", r"one-hot: give y.argmax\(axis=-1\)"),
        ("x, np.zeros((10, 4, 2), int)", "has one class only"),
        ("x, np.zeros((10, 0), int)", r"labels of shape \(10, 0\) are empty"),
        ("x, x.astype(int) - 3", r"labels go down to -3, .* return floats"),
        ("{'train': (x, x), 'test': (x, numbers)}", r"'train' have shape \(2,\) .* 'test' \(\)"),
        ("[(row, range(i)) for i, row in enumerate(x)]", "targets vary in shape, as .* needed is"),
        ("({'a': x, 'b': x}, classes)", r"samples are a dict of 2 tensors \(a, b\), .* one tensor"),
        ("[({'a': row}, 1.5) for row in x]", r"samples are a dict of 1 tensor \(a\)"),
        ("((x, x), classes)", "samples are a tuple of 2 tensors, .* numpy.concatenate"),
        ("(x, (x, x))", "targets are a tuple of 2 tensors"),
        ("{'train': {'x': x, 'y': classes}}", "train is a dict of 'x', 'y'; needed is"),
        ("(x, classes, numbers)", "train is three values .weights of samples are not learnt by"),
        ("zip(x, classes, numbers)", "yields three values .weights of samples are not learnt by"),
        ("x, numbers * np.nan", "labels are not all finite"),
        ("np.ma.masked_greater(x, 8), classes", "train: samples have masked entries, which no"),
        ("[(np.ma.masked_less(row, 5), 1.5) for row in x]", "samples have masked entries"),
        ("x, np.ma.masked_equal(classes, 1)", "targets have masked entries"),
        ("x, y", r"data.py, line 7, `def data\(\): return x, y`: NameError"),
    ],
)
def test_what_is_no_data_set_is_refused(returned, expression, message):
    with pytest.raises(UsageError, match=message):
        returned(expression)


@pytest.mark.parametrize(
    ("targets", "shape", "classes"),
    [
        ("x > 7", (2,), 2),
        ("x.astype(int) // 10", (2,), 2),
        ("(x[:, :, None] > [7, 9])[..., None]", (2, 2), 2),
        ("np.eye(10)[:, :3]", (3,), 0),
        ("x[:, None] / 2", (1, 2), 0),
        ("np.array([['b', 'a'], ['a', 'a']] * 5)", (2,), 2),
        ("classes[:, None]", (), 2),
    ],
)
def test_targets_may_have_axes(returned, targets, shape, classes):
    target = returned(f"x, {targets}").target
    assert (target.shape, target.classes) == (shape, classes)


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("np.arange(20.0).reshape(10, 2) + 2**53, classes", r'rounded by .astype\("float32"\)'),
        ("x, numbers / 1e6 + 2459000", r'subtract a number first; .* .astype\("float32"\)'),
        ("np.zeros((10, 4, 4), np.uint8), classes", "give images an axis of channels"),
    ],
)
def test_advice_for_a_function_names_no_option_that_it_does_not_have(returned, expression, advice):
    with pytest.raises(UsageError, match=advice) as refused:
        returned(expression)
    assert "--" not in str(refused.value)


def test_what_is_rounded_in_a_function_is_taken(returned):
    content = returned("(x + 2.0**53).astype('float32'), (numbers / 1e6 + 2459000).astype('f4')")
    assert content.labels["train"].dtype == np.float32


def test_a_function_is_called_once_a_version_of_its_code(write, tmp_path):
    body = "def data():\n    print(file=open({!r}, 'a'))\n    return x, {}"
    calls, folder = tmp_path / "calls", tmp_path / "sets"
    entry = write(body.format(str(calls), "numbers"))
    spec = describe_dataset(entry, folder)
    assert (spec.name, spec.classes, spec.input_shape) == (entry, 0, (2,))
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (8, 2, True)
    arrays = load_arrays(entry, folder)
    together = np.concatenate([arrays.train_y, arrays.test_y])
    np.testing.assert_array_equal(np.sort(together), np.arange(10))
    np.testing.assert_array_equal(arrays.train_x[:, 0], 2 * arrays.train_y)
    assert calls.read_text() == "\n"
    write(body.format(str(calls), "classes"))
    assert describe_dataset(entry, folder).classes == 2
    assert calls.read_text() == "\n\n"


def test_a_function_is_called_again_when_what_it_reads_has_changed(write, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "numbers.csv", np.arange(10 if name == "one" else 20) / 4)
    (tmp_path / "base").mkdir()
    entry = write(
        "def data():\n    import os\n    times = float(os.environ['TIMES'])\n"
        "    values = times * np.loadtxt('numbers.csv')\n    return values[:, None], values"
    )

    def largest():
        arrays = load_arrays(entry, tmp_path / "sets")
        return max(arrays.train_y.max(), arrays.test_y.max())

    seen = []
    for name, times in (("one", 1), ("two", 1), ("one", 1), ("one", 3)):
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("TIMES", str(times))
        seen.append(largest())
    assert seen == [9 / 4, 19 / 4, 9 / 4, 27 / 4]
    np.savetxt("numbers.csv", np.arange(10) / 8)
    assert largest() == 27 / 8


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("((x[0], 1) for _ in iter(int, 1))", "has not ended after 2,000 samples"),
        ("((np.zeros(1 << 19), 1) for _ in iter(int, 1))", "has not ended after 24 samples, 100 M"),
        ("(__import__('time').sleep(0.3) or (x[0], 1) for _ in iter(int, 1))", "not ended after"),
    ],
)
def test_what_never_ends_is_refused(returned, expression, message, monkeypatch):
    monkeypatch.setattr(bounds, "_MOST_SAMPLES", 2000)
    monkeypatch.setattr(bounds, "_MOST_BYTES", 100 << 20)
    monkeypatch.setattr(bounds, "_MOST_S", 2)
    with pytest.raises(DatasetError, match=f"{message}.*must come to an end.*most_samples = N"):
        returned(expression)


def test_a_function_may_say_how_many_there_are_at_most(write, monkeypatch):
    monkeypatch.setattr(bounds, "_MOST_SAMPLES", 3)
    code = collect(write("most_samples = 10\ndef data(): return zip(x, classes)"))
    assert returned_splits(UserModule(code.ref, code.folder), "it").classes == 2
    code = collect(write("most_samples = 9\ndef data(): return zip(x, classes)"))
    with pytest.raises(DatasetError, match="more samples than its most_samples = 9"):
        returned_splits(UserModule(code.ref, code.folder), "it")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os._exit(0)", "data.py:data ended its process with status 0"),
        ("import os; os.abort()", "data.py:data crashed: its process was ended by SIGABRT"),
        ("import sys; sys.exit(0)", "line 8.*SystemExit"),
        ("input()", "EOFError"),
        ("return [bytearray(1 << 20) for _ in iter(int, 1)]", "more than 300 MB of memory"),
    ],
)
def test_how_a_function_ends_its_process_is_told(write, tmp_path, monkeypatch, body, message):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "300")
    entry = write(f"def data():\n    {body}")
    with pytest.raises(UsageError, match=message):
        load_arrays(entry, tmp_path / "sets")
    assert not [path for path in (tmp_path / "sets").iterdir() if path.name.startswith(".")]


def test_what_a_function_leaves_behind_does_not_matter(write, tmp_path):
    entry = write(
        """def data():
    import os, sys, tempfile, threading, time
    threading.Thread(target=time.sleep, args=(600,)).start()
    if os.fork() == 0: time.sleep(0.1)
    os.chdir(tempfile.gettempdir())
    print("x" * (1 << 20))
    sys.stdout = sys.stderr = None
    return x, classes"""
    )
    assert load_arrays(entry, tmp_path / "sets").spec.classes == 2


def test_an_error_in_the_function_shows_its_line(write, tmp_path):
    entry = write("def data():\n    return open('no such file')")
    with pytest.raises(UsageError, match=r"data.py, line 8, .*FileNotFoundError.*'no such file'"):
        load_arrays(entry, tmp_path / "sets")


@pytest.mark.usefixtures("tfds_here")
def test_a_table_of_numbers_to_predict_is_imported(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,target\n" + "".join(f"{i},{-i},{0.5 * i}\n" for i in range(20)))
    spec = import_dataset("prices", path, tmp_path / "sets")
    assert (spec.classes, spec.class_names, spec.train_samples) == (0, (), 16)
    assert describe_dataset("prices", tmp_path / "sets") == spec
    for made_anew in (False, True):
        arrays = load_arrays("prices", tmp_path / "sets")
        assert arrays.train_y.dtype == np.float32
        np.testing.assert_array_equal(0.5 * arrays.train_x[:, 0], arrays.train_y)
        if not made_anew:
            # Read back from TFDS's own files.
            (tmp_path / "sets/prices/1.0.0/disdel-arrays/spec.json").unlink()


def test_whole_numbers_are_predicted_when_asked(tmp_path):
    (tmp_path / "table.csv").write_text("a,target\n" + "".join(f"{i},{i}\n" for i in range(9)))
    source = read_source(tmp_path / "table.csv")
    assert labelled(source, "here").classes == 9
    numbers = labelled(source, "here", ReadOptions(targets="numbers"))
    assert numbers.classes == 0
    assert numbers.labels["train"].dtype == np.float32


def test_text_is_no_number_to_predict(tmp_path):
    (tmp_path / "table.csv").write_text("a,label\n1,x\n2,y\n")
    with pytest.raises(DatasetError, match="line 2: 'x' is not a number"):
        read_source(tmp_path / "table.csv", ReadOptions(targets="numbers"))


def test_numbers_are_held_out_without_classes():
    train, test = hold_out(np.linspace(0, 1, 50, dtype=np.float32))
    assert sorted([*train, *test]) == list(range(50))
    assert len(test) == 10
