"""Targets with axes of their own on the way to a model of the user's, in both frameworks.

A mask, a class for each token, several numbers: described, trained whole and in parts, scored,
saved and predicted from the file. Loss and accuracy are means over all labels, as the framework
takes them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.models.user import bundled
from disdel.models.user.describe import describe
from disdel.protocol.description import DescribeRequest
from disdel.protocol.messages import Network
from disdel.types import feature_of, target_of
from disdel.user_code.collecting import collect
from disdel.worker.model_file import load_predictor
from disdel.worker.network import TrainerCache

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 6, 5, 1), np.uint8)
TOKENS = RNG.integers(0, 50, (8, 7), np.int32)
VECTORS = RNG.normal(size=(8, 4)).astype(np.float32)
MASK = (IMAGES[..., 0] // 100).astype(np.int32)
# By name: samples, targets, their classes, and the outputs' shape on Keras and on PyTorch.
TARGETS = {
    "mask": (IMAGES, MASK, 3, (6, 5, 3), (3, 6, 5)),
    "two-class mask": (IMAGES, MASK.clip(0, 1), 2, (6, 5, 2), (2, 6, 5)),
    "mask by one output": (IMAGES, MASK.clip(0, 1), 2, (6, 5, 1), (1, 6, 5)),
    "mask without an axis": (IMAGES, MASK.clip(0, 1), 2, (6, 5), (6, 5)),
    "tags": (TOKENS, TOKENS % 4, 4, (7, 4), (4, 7)),
    "labels": (VECTORS, (VECTORS[:, :3] > 0).astype(np.int32), 2, (3,), (3,)),
    "numbers": (VECTORS, VECTORS[:, :2] * 3, 0, (2,), (2,)),
    "one column": (VECTORS, VECTORS[:, :2] * 3, 0, (2, 1), (2, 1)),
    "picture": (IMAGES, (IMAGES[..., 0] / 9).astype(np.float32), 0, (6, 5), (1, 6, 5)),
}
KERAS = """
import keras, math
from keras import layers
{beside}
def make(input_shape, classes, target_shape):
    assert (classes, target_shape) == {told}, (classes, target_shape)
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(),
        layers.Dense(math.prod({outputs}), kernel_initializer=keras.initializers.Constant(1e-3)),
        layers.Reshape({outputs})])
"""
TORCH = """
import math, torch
from torch import nn
{beside}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.LazyLinear(math.prod({outputs}))
    def forward(self, x):
        return self.last(x.float().flatten(1) / 50).unflatten(1, {outputs})
def make(input_shape, classes, target_shape):
    assert (classes, target_shape) == {told}, (classes, target_shape)
    return Net()
"""
PREPROCESS = "def preprocess(x): return x / 255"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What is found out of a model, its trainer, and what predicts with its file."""
    monkeypatch.chdir(".")  # an action goes to its code
    monkeypatch.setattr(sys, "path", [*sys.path])

    def made(framework, kind, beside="", outputs=None):
        x, y, classes, for_keras, for_torch = TARGETS[kind]
        keras = framework == "keras"
        if x is IMAGES:
            beside = f"{beside}\n{PREPROCESS}"
        text = (KERAS if keras else TORCH).format(
            beside=beside,
            outputs=outputs or (for_keras if keras else for_torch),
            told=(classes, y.shape[1:]),
        )
        (tmp_path / "net.py").write_text(text)
        code = collect(f"{tmp_path}/net.py:make")
        code.write(tmp_path)
        np.savez(tmp_path / "samples.npz", x=x, y=y)
        monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
        reply = describe(
            DescribeRequest(
                code=code.ref,
                folder=str(tmp_path),
                samples=str(tmp_path / "samples.npz"),
                features=(feature_of(x.shape[1:], x.dtype.name),),
                targets=(target_of(classes, y.shape[1:]),),
                batch_size=4,
            )
        )
        network = Network(
            runtime=reply.model.home,
            model=reply.model,
            optimizer="sgd",
            learning_rate=0.01,
            seed=0,
            threads=None,
        )
        trainer = TrainerCache().get(network, x)

        def predict(x):
            path = Path(tmp_path / f"model{trainer.model_suffix}")
            trainer.save_model(path)
            return load_predictor(network.runtime, path, None)(x)

        return SimpleNamespace(model=reply.model, trainer=trainer, predict=predict, x=x, y=y)

    return made


@pytest.mark.parametrize("framework", ["keras", "torch"])
@pytest.mark.parametrize("kind", TARGETS)
def test_targets_with_axes_are_trained_scored_and_predicted(made, framework, kind):
    one = made(framework, kind)
    x, y, classes = one.x, one.y, TARGETS[kind][2]
    begun = one.trainer.state()
    one.trainer.train(x[np.newaxis], y[np.newaxis])
    whole = one.trainer.state()
    one.trainer.load_state(begun)
    one.trainer.train(x[np.newaxis], y[np.newaxis], micro_batches=3)
    for name, value in one.trainer.state().items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-3, atol=1e-5)
    scored, predicted = one.trainer.score(x, y), one.predict(x)
    if classes:
        assert predicted.shape == (*y.shape, classes)
        np.testing.assert_allclose(predicted.sum(-1), 1, atol=1e-4)
        assert scored.correct == (predicted.argmax(-1) == y).sum()
        chosen = np.take_along_axis(predicted, y[..., np.newaxis].astype(np.int64), -1)
        loss = -np.log(np.maximum(chosen, 1e-7)).mean()
    else:
        errors = predicted.reshape(y.shape) - y
        assert scored.correct is None
        assert scored.metric_sums == {
            "mean_absolute_error": pytest.approx(np.abs(errors).mean() * len(x), rel=1e-3)
        }
        loss = np.square(errors).mean()
    assert scored.loss_sum == pytest.approx(loss * len(x), rel=1e-3)


OWN = {
    "keras": (
        "loss = keras.losses.MeanSquaredError()\nmetrics = ['mean_absolute_percentage_error']",
        "mean_squared_error",
        ("mean_absolute_error", "mean_absolute_percentage_error"),
    ),
    "torch": (
        "loss = nn.MSELoss()\ndef worst(given, wanted): return (given - wanted).abs().amax(1)\n"
        "metrics = [worst]",
        "MSELoss",
        ("mean_absolute_error", "worst"),
    ),
}


@pytest.mark.parametrize("framework", OWN)
def test_the_description_says_with_what_it_is_trained(made, framework):
    beside, loss, metrics = OWN[framework]
    model = made(framework, "numbers", beside).model
    assert (model.learns, model.loss.name, model.metrics) == ("number", loss, metrics)
    assert model.loss.beside_code
    assert model.target.shape == (2,)
    plain = made(framework, "mask").model
    assert (plain.loss.name, plain.loss.beside_code) == ("cross_entropy", False)
    assert (plain.preprocessing, model.preprocessing) == ("beside_code", "none")


@pytest.mark.parametrize(
    ("framework", "loss"),
    [
        ("keras", "keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)"),
        ("torch", "nn.CrossEntropyLoss(ignore_index=2)"),
        ("torch", "nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 0.0]))"),
    ],
)
def test_labels_that_a_loss_leaves_out_count_for_nothing_in_parts_too(made, framework, loss):
    one = made(framework, "mask", f"loss = {loss}")
    states = []
    for parts in (1, 3):
        begun = one.trainer.state()
        one.trainer.train(one.x[np.newaxis], one.y[np.newaxis], micro_batches=parts)
        states.append(one.trainer.state())
        one.trainer.load_state(begun)
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("framework", "kind", "outputs", "match"),
    [
        ("keras", "mask", (3, 6, 5), r"gives \(3, 6, 5\) .* needs \(6, 5, 3\), since its targets"),
        ("torch", "mask", (6, 5, 3), r"needs \(3, 6, 5\).*\.movedim\(-1, 1\)"),
        ("keras", "labels", (4,), r"needs \(3, 2\) or \(3,\), since .* of 2 classes"),
        ("torch", "numbers", (3,), r"needs \(2,\), since its targets are numbers of that shape"),
    ],
)
def test_outputs_of_another_shape_are_refused(made, framework, kind, outputs, match):
    with pytest.raises(UsageError, match=match):
        made(framework, kind, outputs=outputs)
