"""Networks whose outputs or loss look at a batch as a whole: their batches are not cut."""

from pathlib import Path

import numpy as np
import pytest

from disdel.models.user.describe import describe
from disdel.protocol.messages import Network
from disdel.worker.network import TrainerCache

pytestmark = [
    pytest.mark.framework,
    # Keras's own, when it saves.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def keras_net(loss, body="x"):
    return f"""
import keras
from keras import layers, ops
optimizer = keras.optimizers.SGD(0.5)
{loss}
def make(input_shape, classes):
    x = given = keras.Input(input_shape)
    return keras.Model(given, layers.Dense(classes)({body}))
"""


def torch_net(loss, body="x"):
    return f"""
import torch
from torch import nn
from torch.nn import functional
weight = torch.tensor([0.1, 1.0, 5.0])
def optimizer(parameters): return torch.optim.SGD(parameters, lr=0.5)
{loss}
class Net(nn.Linear):
    def forward(self, x):
        return super().forward({body})
def make(input_shape, classes):
    return Net(input_shape[0], classes)
"""


EACH = "keras.losses.sparse_categorical_crossentropy(y, given, from_logits=True)"
# Texts, and whether their batches are cut.
CASES = {
    "a mean": (keras_net(f"def loss(y, given): return {EACH} + 0.1 * ops.max(given, -1)"), True),
    "a sum": (keras_net(f"def loss(y, given): return ops.sum({EACH})"), False),
    "weights in a function": (
        keras_net(
            "def loss(y, given):\n    weights = ops.take(ops.array([0.1, 1.0, 5.0]), y)\n"
            f"    return ops.sum(weights * {EACH}) / ops.sum(weights)"
        ),
        False,
    ),
    "a mean of inputs": (keras_net("", "x - ops.mean(x, axis=0)"), False),
    "weights, torch": (
        torch_net("loss = nn.CrossEntropyLoss(weight, label_smoothing=0.1, ignore_index=1)"),
        True,
    ),
    "weights in a mean of all, torch": (
        torch_net("loss = nn.CrossEntropyLoss(weight, reduction='none')"),
        True,
    ),
    "weights in a function, torch": (
        torch_net("def loss(given, y): return functional.cross_entropy(given, y, weight)"),
        False,
    ),
    "two at least, torch": (
        torch_net(
            "def loss(given, y): return functional.cross_entropy(given, y) + given.std(0).mean()"
        ),
        False,
    ),
    "a mean of inputs, torch": (torch_net("", "x - x.mean(0)"), False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_cut_where_it_is_made_of_its_samples(requested, monkeypatch, name):
    """And in parts or not comes to the same weights."""
    from disdel.models.user import bundled

    text, is_cut = CASES[name]
    # The first samples have one class.
    request = requested(text, y=np.zeros(8))
    model = describe(request).model
    assert model.by_sample is is_cut

    monkeypatch.chdir(".")  # an action goes to its code
    monkeypatch.setattr(bundled, "BUNDLED", Path(request.folder))
    network = Network(
        runtime=model.home, model=model, optimizer=None, learning_rate=None, seed=0, threads=None
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 4)).astype(np.float32)
    y = np.array([[0, 1, 2, 2, 1, 1], [2, 2, 1, 0, 0, 1]], np.int32)
    whole, cut = (TrainerCache().get(network, x[0]) for _ in range(2))
    cut.load_state(whole.state())
    assert cut.train(x, y, micro_batches=4) == pytest.approx(whole.train(x, y), rel=1e-5)
    for tensor, value in whole.state().items():
        np.testing.assert_allclose(cut.state()[tensor], value, rtol=1e-5, atol=1e-6)
