"""Models and data of the user's own, from the command line to the saved model."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.framework

NET = """
import keras
from parts import WIDTH

requirements = ["keras>=3"]
metrics = ["sparse_top_k_categorical_accuracy"]

def optimizer():
    return keras.optimizers.AdamW(0.003)

def preprocess(x):
    return x / 255

def augment(x, y):
    return x + keras.random.normal(keras.ops.shape(x)), y

class Shift(keras.layers.Layer):
    def call(self, x):
        return x - 0.5

def make(input_shape, classes):
    dense = keras.layers.Dense
    layers = [Shift(), keras.layers.Flatten(), dense(WIDTH, "relu"), dense(classes)]
    return keras.Sequential([keras.Input(input_shape), *layers])
"""

DATA = """
import numpy as np

def numbers():
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    return x, x @ np.float32([1, 2, 3, 4])

def line(input_shape):
    import keras
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(1)])
"""


@pytest.fixture
def disdel(tmp_path):
    """Run the command in a folder with a model and data; the finished process."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "parts.py").write_text("WIDTH = 48\n")
    (tmp_path / "data.py").write_text(DATA)

    def disdel(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "disdel", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return disdel


def test_a_model_of_ones_own_learns_digits(disdel, tmp_path):
    done = disdel(
        "train", "digits", "--model", "net.py:make", "--epochs", 6, "--workers", 1, "--json", "o"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "o").read_text())
    assert report["accuracy"] > 0.8
    assert report["settings"]["model"] == "net.py:make"
    assert report["settings"]["optimizer"] == "adamw"
    [*_, last] = report["rounds"]
    assert last["metrics"]["sparse_top_k_categorical_accuracy"] >= last["accuracy"]
    # What is saved takes images as they are and gives probabilities.
    inferred = disdel("infer", "digits", "--quiet", "--json", "-")
    assert inferred.returncode == 0, inferred.stderr
    assert json.loads(inferred.stdout)["accuracy"] == pytest.approx(report["accuracy"], abs=0.01)


def test_numbers_are_predicted_and_a_diverged_run_keeps_its_last_good_model(disdel, tmp_path):
    done = disdel(
        "train", "data.py:numbers", "--model", "data:line", "--epochs", 4, "--optimizer", "sgd",
        "--learning-rate", 0.1, "--workers", 1, "--json", "o",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mean_absolute_error" in done.stdout
    report = json.loads((tmp_path / "o").read_text())
    assert report["accuracy"] is None
    assert report["rounds"][-1]["metrics"]["mean_absolute_error"] < 0.1
    # A step above 1 for such samples makes every error larger than the last.
    done = disdel(
        "train", "data.py:numbers", "--model", "data:line", "--epochs", 40, "--optimizer", "sgd",
        "--learning-rate", 3, "--workers", 1, "--json", "o",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    report = json.loads((tmp_path / "o").read_text())
    assert report["error"]["kind"] == "diverged"
    lost, good = len(report["rounds"]) + 1, len(report["rounds"])
    assert f"round {lost} " in report["error"]["message"]
    assert f"The model of round {good}, the last good one, is in " in report["error"]["message"]
    [model] = (tmp_path / "runs").glob("*/last_good.keras")
    assert str(model.relative_to(tmp_path)) in done.stderr
    code = f"import keras; print(keras.saving.load_model({str(model)!r}).get_weights()[0].shape)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == f"{np.empty((4, 1)).shape}\n"


def test_a_mistake_is_the_users_input(disdel, tmp_path):
    (tmp_path / "net.py").write_text(NET.replace("dense(classes)", "dense(7)"))
    done = disdel("train", "digits", "--model", "net.py:make")
    assert done.returncode == 2
    assert "gives (7,) for a sample, and the data set needs (10,)" in done.stderr
    assert not (tmp_path / "runs").exists()
