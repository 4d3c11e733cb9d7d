"""Samples that clients load themselves: as the data set has them, or refused with the reason."""

import numpy as np
import pytest

from disdel.data.client_counts import client_counts, counts_of
from disdel.errors import UsageError
from disdel.models import built_in
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule
from disdel.worker.own_data import OwnData

IMAGES = built_in("cnn", input_shape=(8, 8, 1), classes=10)


@pytest.fixture
def written(tmp_path, monkeypatch):
    # Actions go to where the code lies.
    monkeypatch.chdir(tmp_path)

    def write(body, *, counts="    return [3, 3]"):
        (tmp_path / "code").mkdir(exist_ok=True)
        path = tmp_path / "code/site.py"
        path.write_text(
            f"import numpy as np\ndef clients(client, split):\n    {body}\n"
            f"def counts():\n{counts}\n"
        )
        return collect(f"{path}:clients")

    return write


@pytest.fixture
def own(written, tmp_path):
    def make(body):
        written(body).write(tmp_path / "bundle")
        return OwnData(tmp_path / "bundle")

    return make


def test_a_client_is_asked_by_its_number_and_once_in_a_row(own):
    made = own(
        "assert split == 'train'; return np.full((3, 8, 8, 1), client, 'int64'), [client] * 3"
    )
    first = made.get(1, 3, IMAGES)
    assert (first.x.dtype, first.x.shape) == (np.uint8, (3, 8, 8, 1))
    assert first.y.tolist() == [1, 1, 1]
    assert first.y.dtype == np.int32
    assert made.get(1, 3, IMAGES) is first
    assert made.get(0, 3, IMAGES).y.tolist() == [0, 0, 0]


def test_files_beside_the_function_are_found(own, tmp_path):
    (tmp_path / "code").mkdir()
    np.savez(tmp_path / "code/client0.npz", x=np.ones((3, 8, 8, 1), np.uint8), y=np.arange(3))
    made = own("d = np.load('client0.npz'); return d['x'], d['y']")
    assert made.get(0, 3, IMAGES).y.tolist() == [0, 1, 2]


GOOD = "np.zeros((3, 8, 8, 1), 'uint8')"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "site.py:clients of client 0 returned a NoneType; needed is"),
        (
            f"return {GOOD}, [0, 1, 2], [1.0, 1.0, 1.0]",
            r"returned a tuple of 3; needed is \(x, y\)",
        ),
        (
            f"return {{'image': {GOOD}}}, [0, 1, 2]",
            "returned a dict and a list; needed are two arr",
        ),
        (f"return {GOOD}", "returned a ndarray"),
        (f"return {GOOD}, [0, 1]", r"returned x of shape \(3, 8, 8, 1\) and y of shape \(2,\)"),
        (f"return {GOOD}[:2], [0, 1]", r"returned 2 samples, and 3 by what was said before"),
        ("return np.zeros((3, 64)), [0] * 3", r"a sample is of shape \(64,\), not \(8, 8, 1\)"),
        ("return np.zeros((3, 8, 8, 1)), [0] * 3", "has uint8: return whole numbers from 0 to 255"),
        ("return np.full((3, 8, 8, 1), 256), [0] * 3", "samples are from 256 to 256"),
        (f"return {GOOD}, [0, 1, 10]", "targets must be classes, whole numbers from 0 to 9"),
        (f"return {GOOD}, [0.0, 1, 2]", "targets must be classes"),
        (f"return {GOOD}, ['a', 'b', 'c']", "whole numbers from 0 to 9, not <U1$"),
        (f"return {GOOD}, [None, {{}}, 1]", "whole numbers from 0 to 9, not object$"),
        (f"return {GOOD}, [[0], [1, 2], 3]", "returned lists that are no arrays: setting an array"),
        (f"return {GOOD}, [[0]] * 3", r"a target is of shape \(1,\), not \(\)"),
        (f"return np.ma.masked_greater({GOOD} + 9, 8), [0] * 3", "samples have masked entries"),
        (f"return {GOOD}, np.ma.masked_equal([0, 1, 2], 1)", "targets have masked entries"),
        (f"return [np.ma.masked_less(one, 1) for one in {GOOD}], [0] * 3", "samples have masked"),
        ("return open('/nowhere')", "FileNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_what_does_not_suit_is_refused(own, body, message):
    with pytest.raises(UsageError, match=message):
        own(body).get(0, 3, IMAGES)


def test_a_mask_that_leaves_nothing_out_is_none(own):
    made = own("return np.ma.masked_greater(np.ones((3, 8, 8, 1), 'uint8'), 8), [0, 1, 2]")
    assert made.get(0, 3, IMAGES).x.tolist() == np.ones((3, 8, 8, 1)).tolist()


@pytest.mark.parametrize("taken", ["client", "*anything"])
def test_a_function_that_is_told_no_split_has_nothing_to_score_models_on(own, tmp_path, taken):
    made = own(f"return {GOOD}, [0, 1, 2]")
    path = next((tmp_path / "bundle").rglob("site.py"))
    path.write_text(path.read_text().replace("client, split", taken))
    assert made.get(0, 3, IMAGES).y.tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match=r"site\.py:clients takes no split"):
        made.get(0, None, IMAGES, "test")


def test_counts_are_asked_in_a_process_of_their_own(written):
    code = written("return None", counts="    return (n for n in (4, 0, 9))")
    assert client_counts(code).tolist() == [4, 0, 9]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("    return 3", "TypeError"),
        ("    return [1.5]", r"counts\(\) must return the samples of each client"),
        ("    return [[1, 2]]", "not int64 of shape"),
        ("    return []", r"of shape \(0,\)"),
        ("    return [-1, 3]", "says that a client has -1 to 3 samples"),
        ("    raise OSError('no disk')", "no disk"),
        ("    return [1]\ncounts = [1]", "counts beside it must be a function"),
    ],
)
def test_counts_that_are_none_are_refused(written, counts, message):
    code = written("return None", counts=counts)
    with pytest.raises(UsageError, match=message):
        counts_of(UserModule(code.ref, code.folder))


def test_where_nothing_counts_the_code_does_not_run_here(tmp_path):
    path = tmp_path / "site.py"
    # A driver that is only where the samples are.
    path.write_text("import only_at_the_hospital\ndef clients(client):\n    value_counts = 1\n")
    assert client_counts(collect(f"{path}:clients")) is None


def test_a_name_that_counts_nothing_is_no_function_of_that_name(written):
    code = written("return None", counts="    pass\ndel counts")
    assert client_counts(code) is None


@pytest.mark.parametrize(
    ("said", "told"), [("True", (0, 2, 0, 1) + (0,) * 6), ("False", ()), ("'no'", ())]
)
def test_labels_are_told_where_the_code_says_so(own, said, told):
    made = own(f"return {GOOD}, [1, 3, 1]\nshares_labels = {said}")
    samples = made.get(0, 3, IMAGES)
    assert made.labels(samples.y, 10) == told


def test_labels_are_not_told_by_code_that_does_not_speak_of_them(own):
    made = own(f"return {GOOD}, [1, 3, 1]")
    assert made.labels(made.get(0, 3, IMAGES).y, 10) == ()
