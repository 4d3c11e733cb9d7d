"""Models and data of the user's own, from the command line to the saved model."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from tests.support import command
from tests.support.embedded import shared_platform

pytestmark = pytest.mark.framework

NET = """
import keras
from parts import WIDTH

requirements = ["keras>=3"]
WIDTH += len(open("more.txt").read())
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

def masks():
    x = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), np.uint8)
    return x, x[..., 0] // 86
"""

SEGMENTS = """
import torch
from torch import nn

loss = nn.CrossEntropyLoss()

def preprocess(x):
    return x / 255

def make(input_shape, classes):
    channels = input_shape[0]
    return nn.Sequential(nn.Conv2d(channels, 16, 1), nn.ReLU(), nn.Conv2d(16, classes, 1))
"""


TORCH_NET = """
import torch
from torch import nn
from parts import WIDTH

def optimizer(parameters):
    return torch.optim.Adam(parameters, lr=0.01)

def preprocess(x):
    return x / 16

def augment(x, y):
    return x + 0.1 * torch.randn_like(x), y

WIDTH += len(open("more.txt").read())

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.first = nn.LazyLinear(WIDTH)
        self.last = nn.Sequential(nn.ReLU(), nn.Dropout(0.2), nn.Linear(WIDTH, classes))

    def forward(self, x):
        return self.last(self.first(self.norm(x).view(x.size(0), -1)))

def make(classes):
    return Net(classes)

def line():
    return nn.Linear(4, 1)
"""

PLAIN = """
import sys
import torch
from safetensors.torch import load_file
from torch_net import make, preprocess
from disdel.settings import data_dir
from disdel.data import load_arrays

model = make(classes=10)
model.load_state_dict(load_file(sys.argv[1]))

digits = load_arrays("digits", data_dir())
x = torch.tensor(digits.test_x).permute(0, 3, 1, 2).float()
guessed = model.eval()(preprocess(x)).argmax(1).numpy()
print((guessed == digits.test_y).mean())
"""


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    """That of a platform on which all of them train."""
    folder = tmp_path_factory.mktemp("state")
    with shared_platform(folder):
        yield folder


@pytest.fixture
def disdel(tmp_path, state_dir, monkeypatch):
    """Run the command in a folder with models and data; the finished process."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(state_dir))
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "torch_net.py").write_text(TORCH_NET)
    (tmp_path / "parts.py").write_text("WIDTH = 40\n")
    (tmp_path / "more.txt").write_text("8 more. ")
    (tmp_path / "data.py").write_text(DATA)

    return partial(command.disdel, cwd=tmp_path, check=False)


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
    [*_, last] = report["rounds"]
    assert last["metrics"]["mean_absolute_error"] < 0.1
    inferred = disdel("infer", "data.py:numbers", "--predictions", "p.csv", "--json", "i")
    assert inferred.returncode == 0, inferred.stderr
    assert "mean squared error" in inferred.stdout
    evaluation = json.loads((tmp_path / "i").read_text())["evaluation"]
    assert evaluation["mean_squared_error"] == pytest.approx(last["loss"], rel=1e-4)
    assert evaluation["mean_absolute_error"] == pytest.approx(
        last["metrics"]["mean_absolute_error"], rel=1e-4
    )
    heading, *rows = (tmp_path / "p.csv").read_text().splitlines()
    assert heading == "input,number,true"
    assert len(rows) == evaluation["samples"]
    # A step above 1 for such samples makes every error larger than the last.
    done = disdel(
        "train", "data.py:numbers", "--model", "data:line", "--epochs", 40, "--optimizer", "sgd",
        "--learning-rate", 3, "--workers", 1, "--json", "o",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    report = json.loads((tmp_path / "o").read_text())
    assert report["error"]["kind"] == "diverged"
    # The average that has diverged was made, and its score is what failed.
    good = sum(one["loss"] is not None for one in report["rounds"])
    lost = good + 1
    assert f"round {lost} " in report["error"]["message"]
    assert f"The model of round {good}, the last good one, is in " in report["error"]["message"]
    [model] = (tmp_path / "runs").glob("*/last_good.keras")
    assert str(model.relative_to(tmp_path)) in done.stderr
    code = f"import keras; print(keras.saving.load_model({str(model)!r}).get_weights()[0].shape)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == f"{np.empty((4, 1)).shape}\n"


def test_each_pixel_has_a_class(disdel, tmp_path):
    (tmp_path / "segments.py").write_text(SEGMENTS)
    train = ("train", "data.py:masks", "--model", "segments.py:make", "--learning-rate", 0.05)
    done = disdel(*train, "--epochs", 10, "--batch", 8, "--workers", 2, "--json", "o")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "o").read_text())
    assert report["accuracy"] > 0.8
    inferred = disdel("infer", "data.py:masks", "--predictions", "p.npz", "--json", "i")
    assert inferred.returncode == 0, inferred.stderr
    found = json.loads((tmp_path / "i").read_text())
    assert found["accuracy"] == report["accuracy"]
    assert found["loss"] == pytest.approx(report["loss"], rel=1e-4)
    with np.load(tmp_path / "p.npz") as predicted:
        assert predicted["probabilities"].shape == (24, 8, 8, 3)
        hits = predicted["class"] == predicted["true"]
    assert hits.mean() == pytest.approx(report["accuracy"])
    refused = disdel("plan", "data.py:masks")
    assert refused.returncode == 2
    assert "this one has 8×8 classes: write a network of your own" in refused.stderr
    refused = disdel("plan", *train[1:], "--runtime", "compiled")
    assert refused.returncode == 2
    assert "returns a PyTorch module" in refused.stderr


def test_a_mistake_is_the_users_input(disdel, tmp_path):
    (tmp_path / "net.py").write_text(NET.replace("dense(classes)", "dense(7)"))
    done = disdel("train", "digits", "--model", "net.py:make")
    assert done.returncode == 2
    assert "gives (7,) for a sample, and the data set needs (10,)" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_pytorch_module_of_ones_own_learns_digits(disdel, tmp_path):
    done = disdel(
        "train", "digits", "--model", "torch_net.py:make", "--epochs", 6, "--workers", 2,
        "--json", "o",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "o").read_text())
    assert report["accuracy"] > 0.8
    assert report["plan"]["runtime"] == "torch"
    assert report["settings"]["optimizer"] == "adam"
    inferred = disdel("infer", "digits", "--quiet", "--json", "-")
    assert inferred.returncode == 0, inferred.stderr
    assert json.loads(inferred.stdout)["accuracy"] == report["accuracy"]
    (tmp_path / "plain.py").write_text(PLAIN)
    plain = subprocess.run(
        [sys.executable, "plain.py", report["model"]],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(plain.stdout) == pytest.approx(report["accuracy"])


def test_a_module_that_diverged_leaves_its_last_good_weights(disdel, tmp_path):
    done = disdel(
        "train", "data.py:numbers", "--model", "torch_net:line", "--epochs", 40, "--optimizer",
        "sgd", "--learning-rate", 3, "--workers", 1, "--json", "o",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    error = json.loads((tmp_path / "o").read_text())["error"]
    assert error["kind"] == "diverged"
    assert "on worker 0" in error["message"]
    [model] = (tmp_path / "runs").glob("*/last_good.safetensors")
    inferred = disdel("infer", "data.py:numbers", "--model", model, "--quiet", "--json", "-")
    assert inferred.returncode == 0, inferred.stderr
    assert json.loads(inferred.stdout)["evaluation"]["mean_squared_error"] > 1
    moved = model.rename(tmp_path / "moved.safetensors")
    refused = disdel("infer", "data.py:numbers", "--model", moved)
    assert refused.returncode == 2
    assert "holds weights of torch_net:line" in refused.stderr
    assert "--model-code" in refused.stderr


def test_another_runtime_than_the_models_is_the_users_input(disdel):
    done = disdel("plan", "digits", "--model", "torch_net.py:make", "--runtime", "tensorflow")
    assert done.returncode == 2
    assert "torch_net.py:make returns a PyTorch module" in done.stderr
    done = disdel("plan", "digits", "--model", "net.py:make", "--runtime", "torch")
    assert done.returncode == 2
    assert "net.py:make returns a Keras model" in done.stderr
