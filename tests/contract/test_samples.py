"""Samples of every kind on the way to a model of the user's own: as they are, in both frameworks.

A model looks at what it is given. It is described, built as an action builds it, trained, saved and
asked for predictions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.models.user import bundled
from disdel.models.user.describe import describe
from disdel.protocol.description import DescribeRequest
from disdel.protocol.messages import Network
from disdel.types import DatasetSpec, Reading, TableLayout
from disdel.user_code.collecting import collect
from disdel.worker.model_file import load_predictor
from disdel.worker.network import TrainerCache
from tests.support.specs import dataset_spec

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

CLASSES = 3
# By kind, and among integers by what they are looked up in.
SAMPLES = {
    "image": (np.arange(4 * 6 * 6) % 7).reshape(4, 6, 6, 1).astype(np.uint8),
    "vector": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3),
    "table of integers": np.arange(12, dtype=np.int32).reshape(4, 3),
    "numbers": np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 2, 3),
    "tokens": np.array([[257, 300, 1023]] * 3 + [[258, 301, 0]], np.int32),
    # Neither float32 nor bfloat16 tells these apart.
    "large tokens": np.array([[2**24 + 1, 2**40 + 1, 5]] * 3 + [[2**24, 2**40, 5]], np.int64),
}
KERAS = """
import keras
from keras import layers
def make(input_shape, classes):
    return keras.Sequential([*{layers}, keras.layers.Flatten(),
        keras.layers.Dense(4), keras.layers.Dense(classes, activation="softmax")])
"""
KERAS_LAYERS = {
    "tokens": "[layers.Embedding(1024, 8)]",
    "large tokens": "[keras.Input(input_shape, dtype='int64'), Low(), layers.Embedding(2, 8)]",
}
LOW = """
@keras.saving.register_keras_serializable()
class Low(keras.layers.Layer):
    def call(self, x):
        assert x.dtype == "int64", x.dtype
        return x % 2
"""
TORCH = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = {first}, nn.LazyLinear(classes)
    def forward(self, x):
        assert x.dtype == {dtype}, x.dtype
        return self.last(self.first({x}).flatten(1))
def make(classes): return Net(classes)
"""
TORCH_FIRST = {
    "tokens": ("nn.Embedding(1024, 8)", "x"),
    "large tokens": ("nn.Embedding(2, 8)", "x % 2"),
}


def text_of(framework: str, kind: str) -> str:
    if framework == "keras":
        text = KERAS.format(layers=KERAS_LAYERS.get(kind, "[]"))
        return text.replace("def make", f"{LOW}\ndef make") if kind == "large tokens" else text
    first, x = TORCH_FIRST.get(kind, ("nn.Flatten()", "x"))
    return TORCH.format(first=first, x=x, dtype="torch.int64" if "token" in kind else "torch.float")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """What is found out of a model, its trainer, and what predicts with its file."""
    monkeypatch.chdir(".")  # an action goes to its code
    monkeypatch.setattr(sys, "path", [*sys.path])

    def model(framework, kind, precision="float32"):
        x, y = SAMPLES[kind], np.arange(4, dtype=np.int32) % CLASSES
        (tmp_path / "net.py").write_text(text_of(framework, kind))
        code = collect(f"{tmp_path}/net.py:make")
        code.write(tmp_path)
        np.savez(tmp_path / "samples.npz", x=x, y=y)
        monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
        reply = describe(
            DescribeRequest(
                code=code.ref,
                folder=str(tmp_path),
                samples=str(tmp_path / "samples.npz"),
                features=dataset(kind).features,
                targets=dataset(kind).targets,
                batch_size=4,
                precision=precision,
            )
        )
        network = Network(
            runtime=reply.model.home,
            model=reply.model,
            optimizer="sgd",
            learning_rate=0.01,
            seed=0,
            threads=None,
            precision=precision,
        )
        trainer = TrainerCache().get(network, x)
        assert np.isfinite(trainer.train(x[np.newaxis], y[np.newaxis]))
        scored = trainer.score(x, y)
        path = Path(tmp_path / f"model{trainer.model_suffix}")
        trainer.save_model(path)
        return reply.model, scored, load_predictor(network.runtime, path, None)

    return model


def dataset(kind: str) -> DatasetSpec:
    x = SAMPLES[kind]
    table = TableLayout(names=(), columns=(), label=None, header=False, decimal=".")
    return dataset_spec(
        name="made",
        version="1.0.0",
        input_shape=x.shape[1:],
        input_dtype=x.dtype.name,
        classes=CLASSES,
        train_samples=4,
        test_samples=0,
        reading=Reading(table=table if "table" in kind else None),
    )


def test_features_say_what_samples_are():
    found = {kind: dataset(kind).features[0].kind for kind in SAMPLES}
    assert found == {
        "image": "image",
        "vector": "vector",
        "table of integers": "vector",
        "numbers": "numbers",
        "tokens": "tokens",
        "large tokens": "tokens",
    }
    assert dataset("tokens").target.kind == "class"


@pytest.mark.parametrize("framework", ["keras", "torch"])
@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_reach_a_model_as_they_are(model, framework, kind):
    own, scored, predict = model(framework, kind)
    assert own.takes_integers is ("token" in kind)
    predicted = predict(SAMPLES[kind])
    wanted = np.arange(4) % CLASSES
    found = -np.log(predicted[np.arange(4), wanted]).sum()
    assert scored.loss_sum == pytest.approx(found, rel=1e-4)
    if own.takes_integers:
        # The first three are alike, and the last is another.
        assert np.abs(predicted[0] - predicted[3]).max() > 1e-4
        with pytest.raises(UsageError, match=r"whole numbers .* 0\.5 is among these"):
            predict(np.full(SAMPLES[kind].shape, 0.5, np.float32))
    elif SAMPLES[kind].dtype.kind == "i":
        assert np.isfinite(predict(SAMPLES[kind] + np.float32(0.5))).all()


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_tokens_beyond_256_stay_apart_in_bfloat16(model, framework):
    _, scored, predict = model(framework, "tokens", "bfloat16")
    assert np.isfinite(scored.loss_sum)
    predicted = predict(SAMPLES["tokens"])
    assert np.abs(predicted[0] - predicted[3]).max() > 1e-4
