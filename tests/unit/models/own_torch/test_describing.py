"""What is found out about a PyTorch module of the user's own: task, sizes, shapes of its input."""

from pathlib import Path

import numpy as np
import pytest

from disdel.models import built_in
from disdel.models.user.describe import describe
from tests.support.torch_nets import LOGITS, ONE, forward, make

pytestmark = pytest.mark.framework


@pytest.mark.parametrize(
    ("text", "classes", "target", "probabilities"),
    [
        (make(LOGITS), 3, "class", False),
        (make(LOGITS, "nn.LogSoftmax(1)"), 3, "class", False),
        (make(LOGITS, "nn.Softmax(1)"), 3, "class", True),
        (make("nn.Linear(4, 1)"), 2, "binary", False),
        (make("nn.Linear(4, 1)", "nn.Sigmoid()"), 2, "binary", True),
        (make(ONE), 0, "number", False),
        (make(ONE, "nn.Sigmoid()"), 0, "number", False),
        (forward("self.dense(x).softmax(1)"), 3, "class", True),
        (forward("torch.sigmoid(self.dense(x)).view(-1, 1)", 1), 2, "binary", True),
        (forward("self.dense(x) * 1"), 3, "class", False),
    ],
)
def test_the_output_tells_what_is_learnt(requested, text, classes, target, probabilities):
    reply = describe(requested(text, classes=classes))
    assert reply.model.home == "torch"
    assert (reply.model.learns, reply.model.gives_probabilities) == (target, probabilities)


def test_the_example_of_the_docs_is_a_model(requested):
    text = Path("docs/models.md").read_text().split("```python\n# torch_net.py\n")[1]
    request = requested(
        text.split("```")[0], input_shape=(8, 8, 3), classes=10, input_dtype="uint8"
    )
    own = describe(request).model
    assert (own.home, own.default_optimizer.name) == ("torch", "adamw")
    [group] = own.default_optimizer.groups
    assert group.settings["weight_decay"] == 0.01


def test_sizes_are_about_those_of_the_built_in_networks(requested):
    cnn = make("nn.Conv2d(3, 32, 3)", "nn.ReLU()", "nn.MaxPool2d(2)", "nn.Flatten()",
               "nn.Linear(800, 128)", "nn.ReLU()", "nn.Linear(128, classes)")  # fmt: skip
    found = describe(requested(cnn, input_shape=(12, 12, 3), classes=7, input_dtype="uint8"))
    facts = found.model.facts
    known = built_in("cnn", input_shape=(12, 12, 3), classes=7).facts
    assert (facts.parameters, facts.multiply_adds, facts.largest) == (
        known.parameters, known.multiply_adds, known.largest,
    )  # fmt: skip
    # A pool keeps where its maxima were, in 8 bytes each.
    assert known.activations <= facts.activations <= known.activations + 3 * 800


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)",
         6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 6 * 6 * 8),
        ("nn.LSTM(8, 4, batch_first=True)", 6 * 4 * (8 * 4 + 4 * 4)),
        ("nn.GRU(8, 4, batch_first=True)", 6 * 3 * (8 * 4 + 4 * 4)),
    ],
)  # fmt: skip
def test_multiply_adds_of_other_modules(requested, modules, expected):
    width = 4 if "batch_first" in modules and "Trans" not in modules else 8
    text = f"""
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = {modules}, nn.Linear({width}, 3)
    def forward(self, x):
        y = self.first(x)
        return self.last((y[0] if isinstance(y, tuple) else y)[:, -1])
def make(): return Net()
"""
    facts = describe(requested(text, input_shape=(6, 8))).model.facts
    assert facts.multiply_adds == expected + width * 3


def test_images_come_channels_first_and_everything_else_as_it_is(requested):
    text = """
from torch import nn
def make(input_shape, classes):
    assert input_shape == {shape}, input_shape
    width = input_shape[0] * input_shape[1] * input_shape[2]
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(width, classes)
        def forward(self, x):
            assert x.shape[1:] == {shape}, x.shape
            return self.dense(x.view(x.size(0), -1))
    return Net()
"""
    for channels in (1, 3):
        shape = (8, 6, channels)
        turned = text.format(shape=(channels, 8, 6))
        describe(requested(turned, input_shape=shape, input_dtype="uint8"))
        describe(requested(text.format(shape=shape), input_shape=shape))


TOKENS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, {width}):
        super().__init__()
        self.embed, self.last = nn.Embedding(50, 8), {last}
    def forward(self, x):
        assert len(x) <= 5, len(x)  # the job's batch
        return self.last(self.embed(x.long() - 1).mean(1))
def make(input_shape, classes): return Net({width})
"""


@pytest.mark.parametrize("last", ["nn.Linear(8, classes)", "nn.LazyLinear(classes)"])
def test_a_module_is_tried_out_on_samples_of_the_data_set(requested, trainer, last):
    text = TOKENS.format(width="classes", last=last)
    ids = np.random.default_rng(0).integers(1, 51, (40, 24))
    shapes = {"input_shape": (24,), "batch_size": 5, "x": ids[:5]}
    facts = describe(requested(text, **shapes)).model.facts
    assert facts.parameters == 50 * 8 + 8 * 3 + 3
    # An action has samples as well, from which a lazy module learns its shapes.
    mine = trainer(text, **shapes)
    x = ids[np.newaxis, :5].astype(np.float32)
    assert np.isfinite(mine.train(x, np.zeros((1, 5), np.int32)))


LOOKS_AT_VALUES = """
import torch
from torch import nn
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    def forward(self, x):
        return super().forward(x if x.sum().item() > 1e9 else {other})
def make(): return Net()
"""


def test_sizes_are_the_same_where_a_module_looks_at_values(requested):
    """There a pass is computed, of two samples; elsewhere none is."""
    text = LOOKS_AT_VALUES.format(other="x")
    looking = describe(requested(text, batch_size=2)).model.facts
    plain = describe(requested(text.replace(".item() > 1e9", ".ndim"), batch_size=2)).model.facts
    assert plain.constants == 2 * 6 + 1  # moving averages, and a count of steps
    assert looking == plain


def test_a_step_is_tried_on_as_many_samples_as_fit():
    from disdel.models.user.trial import Trial

    trial = Trial(np.zeros((64, 3)), np.zeros(64), batch_size=32)
    assert [len(trial.batch(activations).x) for activations in (10, 1 << 24, 1 << 40)] == [32, 8, 1]
    assert len(trial.few()) == 2
