"""PyTorch modules of the user's own: built once, tried out, and what is wrong with them."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.training.aggregate import weighted_mean
from disdel.training.schedule import Schedule
from disdel.types import OptimizerGroup
from disdel.user_code import UserModule, collect
from disdel.wire import DescribeRequest, Network
from disdel.worker.describe import describe

pytestmark = pytest.mark.framework


def make(*modules, head=""):
    """The text of a file whose `make` stacks `modules`."""
    return f"""
import torch
from torch import nn
from torch.nn import functional as F
{head}
def make(input_shape, classes):
    return nn.Sequential({", ".join(modules)})
"""


ZERO = """
class Zero(nn.Linear):
    def reset_parameters(self):
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
"""
LOGITS = "nn.Linear(4, classes)"
ONE = "nn.Linear(4, 1)"
SUBCLASS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, {width})
    def forward(self, x):
        return {result}
def make(): return Net()
"""


def forward(result, width=3):
    return SUBCLASS.format(result=result, width=width)


@pytest.fixture
def requested(tmp_path, monkeypatch):
    """A request to describe the text of a file with a function `make`."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def requested(text, input_shape=(4,), classes=3, input_dtype="float32"):
        (tmp_path / "net.py").write_text(text)
        return DescribeRequest(
            code=collect(f"{tmp_path}/net.py:make").ref,
            folder=str(tmp_path),
            input_shape=input_shape,
            input_dtype=input_dtype,
            classes=classes,
        )

    return requested


@pytest.fixture
def trainer(requested, monkeypatch):
    """The trainer of such a text, as an action builds it; without a step taken."""

    def trainer(text, *, optimizer=None, learning_rate=None, seed=0, **shapes):
        from disdel.types import ModelSpec
        from disdel.worker import own_torch
        from disdel.worker.network import TrainerCache

        request = requested(text, **shapes)
        reply = describe(request)
        monkeypatch.setattr(own_torch, "BUNDLED", Path(request.folder))
        spec = ModelSpec(
            name="net.py:make",
            input_shape=request.input_shape,
            classes=request.classes,
            target=reply.target,
            own=reply.own,
        )
        network = Network(
            runtime="torch",
            model=spec,
            optimizer=optimizer,
            learning_rate=learning_rate,
            seed=seed,
            threads=1,
        )
        return TrainerCache().get(network, request.input_dtype)

    return trainer


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
    assert reply.own.runtime == "torch"
    assert (reply.target, reply.own.gives_probabilities) == (target, probabilities)


def test_the_example_of_the_docs_is_a_model(requested):
    text = Path("docs/models.md").read_text().split("```python\n# torch_net.py\n")[1]
    request = requested(
        text.split("```")[0], input_shape=(8, 8, 3), classes=10, input_dtype="uint8"
    )
    own = describe(request).own
    assert (own.runtime, own.optimizer) == ("torch", "adamw")
    [group] = own.optimizer_groups
    assert group.settings["weight_decay"] == 0.01


def test_sizes_are_about_those_of_the_built_in_networks(requested):
    from disdel.catalog.models import model_facts
    from disdel.types import ModelSpec

    cnn = make("nn.Conv2d(3, 32, 3)", "nn.ReLU()", "nn.MaxPool2d(2)", "nn.Flatten()",
               "nn.Linear(800, 128)", "nn.ReLU()", "nn.Linear(128, classes)")  # fmt: skip
    found = describe(requested(cnn, input_shape=(12, 12, 3), classes=7, input_dtype="uint8"))
    facts = found.own.facts
    known = model_facts(ModelSpec(name="cnn", input_shape=(12, 12, 3), classes=7))
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
    facts = describe(requested(text, input_shape=(6, 8))).own.facts
    assert facts.multiply_adds == expected + width * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\ndef make(): return None", "make returned None, where a torch.nn.Module is"),
        ("import torch\ndef other(): pass", r"has no function 'make'; it has other"),
        (
            "import torch\ndef make():\n    raise ValueError('no luck')",
            r"net.py, line 3, `raise ValueError\('no luck'\)`: ValueError: no luck",
        ),
        (make("nn.Linear(4, 7)"), r"gives \(7,\) for a sample, and the data set needs \(3,\)"),
        (make(ONE), r"gives \(1,\) for a sample, and the data set needs \(3,\)"),
        (forward("self.dense(x)[:, 0]"), r"gives \(\) for a sample, and the data set needs \(3,\)"),
        (forward("self.dense(x).sum()"), r"tensor of shape \(\) for 2 samples; its first axis"),
        (make("nn.Linear(5, classes)"), r"net.py:make: RuntimeError: mat1 and mat2"),
        (
            forward("self.dense(x)").replace("forward(self, x)", "forward(self, x, mask)"),
            r"has 2 inputs \(x, mask\), and a data set has one",
        ),
        (forward("(self.dense(x), x)"), "has 2 outputs, and one is needed"),
        (forward("self.dence(x)"), r"`return self.dence\(x\)`: AttributeError.*'dence'"),
        (forward("x[:, :3]").replace("self.dense = nn.Linear(4, 3)", "pass"), "no parameters to"),
        (make(LOGITS).replace("return ", "return 2 * [0] or "), "returned a list, where a torch"),
        (
            forward("self.dense(x)", "3, dtype=torch.bfloat16"),
            r"dense.weight of .* is torch.bfloat16, which cannot be averaged; call .float\(\)",
        ),
        (
            forward("self.dense(x)", "3, device='meta'"),
            "dense.weight of .* is on the device meta; return the module on the CPU",
        ),
        (
            forward("self.dense(x)") + "Net.get_extra_state = lambda self: 3\n"
            "Net.set_extra_state = lambda self, state: None\n",
            "_extra_state of .* is a int and not a tensor",
        ),
        (make(LOGITS, head="loss = 'mse'"), "loss must be a function of outputs and .* st"),
        (make(LOGITS, head="loss = nn.CrossEntropyLoss(reduction='sum')"), "a mean is needed"),
        (
            make(LOGITS, head="class loss(nn.Linear):\n"
                 "    def __init__(self): super().__init__(1, 1)\n"),
            "loss has parameters of its own",
        ),
        (
            make(LOGITS, head="def loss(outputs, targets):\n    return outputs.nothing\n"),
            r"net.py, line 6, `return outputs.nothing`: AttributeError",
        ),
        (make(LOGITS, head="optimizer = 'ftrl'"), r"no optimizer 'ftrl'; known: adam, .* def op"),
        (make(LOGITS, head="optimizer = 3"), "optimizer must be a name, or .* not a int"),
        (make(LOGITS, head="def optimizer(p): return 3"), "optimizer returned a int, where one"),
        (
            make(LOGITS, head="optimizer = torch.optim.LBFGS"),
            r"torch.optim.lbfgs.LBFGS cannot be used; of torch.optim, SGD, Adam, AdamW, RMSprop,",
        ),
        (
            make(LOGITS, head="def optimizer(p): return torch.optim.SGD([torch.zeros(1)], lr=1)"),
            "updates parameters that are not trainable ones of the module",
        ),
        (make(LOGITS, head="metrics = ['accuracy']"), "metric 'accuracy' must be a function"),
        (make(LOGITS, head="augment = 3"), "augment must be a function, not a int"),
        (
            make(LOGITS, head="def augment(x, y): return x[:, :2], y"),
            r"augment gave samples of shape \(8, 2\).* shapes must stay",
        ),
        (
            make(LOGITS, head="def preprocess(x):\n    return x.nothing()\n"),
            r"net.py, line 6, `return x.nothing\(\)`: AttributeError",
        ),
        (
            make(LOGITS, head="requirements = ['no-such-thing>=3']"),
            "requires no-such-thing>=3, and no-such-thing is not installed",
        ),
        ("import torch, no_such_package\n", "this runtime lacks the package no_such_package"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(requested, text, message):
    with pytest.raises(UsageError, match=message):
        describe(requested(text))


def test_without_pytorch_the_message_says_what_to_install(requested, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"torch is not installed: pip install 'disdel\[torch\]'"):
        describe(requested(make(LOGITS)))


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


def test_values_of_images_keep_their_places(trainer):
    text = make(
        "nn.Flatten()", "Corner()", "nn.Linear(1, 1, bias=False)",
        head="""
class Corner(nn.Module):
    def forward(self, x):
        # Channel 1 of row 0, column 2, of 3 channels of 4 rows and 5 columns.
        return x[:, [1 * 20 + 0 * 5 + 2]]
""",
    )  # fmt: skip
    mine = trainer(text, input_shape=(4, 5, 3), input_dtype="uint8", classes=0)
    x = np.zeros((1, 4, 5, 3), np.uint8)
    x[0, 0, 2, 1] = 200
    [weight] = [v for n, v in mine.state().items() if n.endswith("weight") and "model/" in n]
    scored = mine.score(x, np.zeros(1, np.float32))
    assert scored.metric_sums["mean_absolute_error"] == pytest.approx(200 * abs(weight.item()))


def test_what_stands_beside_the_function_is_used(trainer):
    beside = """
loss = nn.CrossEntropyLoss(label_smoothing=0.5)
def least(probabilities, targets): return probabilities.amin(1)
def accuracy(probabilities, targets): return (probabilities.argmax(1) == targets).float().mean()
metrics = [least, accuracy]
def optimizer(parameters): return torch.optim.SGD(parameters, lr=0.0)
def augment(x, y): return x * 0, y
def preprocess(x): return x / 2
"""
    text = make("Zero(4, classes)", head=ZERO + beside)
    mine = trainer(text)
    x, y = np.ones((8, 4), np.float32), np.arange(8, dtype=np.int32) % 3
    before = mine.state()
    assert mine.train(x[np.newaxis], y[np.newaxis]) == pytest.approx(8 * np.log(3), rel=1e-5)
    for name, value in mine.state().items():
        assert "step" in name or (value == before[name]).all(), name
    scored = mine.score(x, y)
    assert scored.correct == 3
    assert scored.metric_sums == pytest.approx({"least": 8 / 3, "accuracy": 3})


TIED = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.inner.weight
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.LazyLinear(3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
    def forward(self, x):
        if self.training:
            self.calls += 1
            self.scratch += 0.5
        return self.last(self.drop(self.norm(self.again(self.inner(x)))))
def make(): return Net()
"""


def blocks(steps=6, batch=5):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, 4)).astype(np.float32)
    return x, rng.integers(0, 3, (steps, batch)).astype(np.int32)


def test_a_state_has_buffers_and_each_shared_parameter_once(trainer):
    mine = trainer(TIED)
    x, y = blocks()
    mine.train(x, y)
    state = mine.state()
    assert "model/inner.weight" in state
    assert "model/again.weight" not in state
    assert state["model/calls"] == state["model/norm.num_batches_tracked"] == 6
    assert state["model/scratch"].tolist() == [3, 3]
    assert state["model/last.weight"].shape == (3, 4)
    assert mine.score(x[0], y[0]) == mine.score(x[0], y[0])


def test_a_round_in_segments_is_bit_for_bit_a_round_in_one(trainer):
    """Dropout and augmentation draw what the step's number says, wherever they run."""
    text = (
        TIED
        + """
import random
import numpy
def augment(x, y): return x + torch.randn_like(x) + random.random() + numpy.random.rand(), y
"""
    )
    x, y = blocks()
    seeds = Schedule(30, 5, seed=7, worker=1).seeds(0, 6)
    whole = trainer(text)
    loss = whole.train(x, y, seeds=seeds)
    first, second = trainer(text), trainer(text, seed=9)
    parts = [first.train(x[:2], y[:2], seeds=seeds[:2])]
    second.load_state(first.state())
    second.score(x[0], y[0])
    random.random()
    parts += [second.train(x[i : i + 1], y[i : i + 1], seeds=seeds[i : i + 1]) for i in range(2, 6)]
    assert sum(parts) == pytest.approx(loss)
    for name, value in whole.state().items():
        assert value.tobytes() == second.state()[name].tobytes(), name
    other = trainer(text)
    other.train(x, y, seeds=Schedule(30, 5, seed=7, worker=0).seeds(0, 6))
    assert (other.state()["model/last.weight"] != whole.state()["model/last.weight"]).any()


def test_seeds_follow_run_worker_and_step_alone():
    schedule = Schedule(640, 64, seed=3, worker=2)
    whole = schedule.seeds(0, 20)
    assert whole.dtype == np.uint32
    assert np.concatenate([schedule.seeds(0, 7), schedule.seeds(7, 20)]).tolist() == whole.tolist()
    others = [replace(schedule, worker=1), replace(schedule, seed=4)]
    assert len({*whole.tolist(), *(s for o in others for s in o.seeds(0, 20).tolist())}) == 60
    assert schedule.seeds(5, 5).shape == (0,)


def test_one_round_of_two_workers_is_one_large_step(trainer):
    text = make("nn.Linear(4, 8)", "nn.Tanh()", "nn.Linear(8, classes)",
                head="def optimizer(p): return torch.optim.SGD(p, lr=0.5)")  # fmt: skip
    x, y = blocks(steps=1, batch=60)
    large = trainer(text)
    large.train(x, y)
    parts = []
    for shard in (slice(0, 20), slice(20, 60)):
        worker = trainer(text)
        worker.train(x[:, shard], y[:, shard])
        parts.append(worker.state())
    for name, expected in large.state().items():
        mean = weighted_mean([part[name] for part in parts], [20, 40])
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_last_batch_of_one_sample_can_be_normalised(trainer):
    x, y = blocks(steps=1, batch=1)
    mine = trainer(TIED)
    assert np.isfinite(mine.train(x, y))
    assert all(np.isfinite(value).all() for value in mine.state().values())


@pytest.mark.parametrize(
    "made",
    [
        "SGD(p, lr=0.1)",
        "SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)",
        "SGD(p, lr=0.1, momentum=0.9, dampening=0.5)",
        "Adam(p)",
        "Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True)",
        "Adam(p, fused=True)",
        "AdamW(p, lr=0.01, weight_decay=0.1)",
        "RMSprop(p, lr=0.01)",
        "RMSprop(p, lr=0.01, momentum=0.5, centered=True, weight_decay=0.1)",
        "Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2)",
        "NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)",
        "SGD([{'params': p[:1], 'lr': 0.01}, {'params': p[1:], 'momentum': 0.9}], lr=0.1)",
    ],
)
def test_an_optimizer_of_pytorch_takes_pytorchs_steps(trainer, made):
    """Beside a plain loop over the same module with the optimizer itself."""
    import torch
    from torch import nn

    text = make(LOGITS, head=f"def optimizer(p): return torch.optim.{made}")
    mine = trainer(text)
    plain = nn.Linear(4, 3)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(torch.from_numpy(mine.state()[f"model/0.{name}"]))
    optimizer = eval(f"torch.optim.{made}", {"torch": torch, "p": list(plain.parameters())})
    x, y = blocks()
    mine.train(x[:2], y[:2])
    # Another container goes on.
    second = trainer(text, seed=9)
    second.load_state(mine.state())
    second.train(x[2:], y[2:])
    for samples, labels in zip(torch.from_numpy(x), torch.from_numpy(y).long(), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(samples), labels).backward()
        optimizer.step()
    for name, parameter in plain.named_parameters():
        found = second.state()[f"model/0.{name}"]
        np.testing.assert_allclose(found, parameter.detach(), rtol=1e-6, atol=1e-7, err_msg=name)


def test_parameters_that_the_optimizer_leaves_out_stay(trainer):
    last = "def optimizer(model): return torch.optim.SGD(model[1].parameters(), lr=1.0)"
    text = make("nn.Linear(4, 4)", "nn.Linear(4, classes)", head=last)
    mine = trainer(text)
    before = mine.state()
    mine.train(*blocks())
    after = mine.state()
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved == {"model/1.weight", "model/1.bias", "optimizer/step"}


def test_names_and_rates_of_the_command_win(requested, trainer):
    text = make("nn.Linear(4, classes, bias=False)",
                head="def optimizer(p): return torch.optim.SGD(p, lr=123.0)")  # fmt: skip
    own = describe(requested(text)).own
    assert own.optimizer == "sgd"
    assert own.optimizer_groups == (
        OptimizerGroup(parameters=("0.weight",), settings=own.optimizer_groups[0].settings),
    )
    x, y = blocks(steps=1)
    one, same = trainer(text, learning_rate=0.5), trainer(text, optimizer="sgd", learning_rate=0.5)
    one.train(x, y)
    same.train(x, y)
    np.testing.assert_array_equal(one.state()["model/0.weight"], same.state()["model/0.weight"])
    named = trainer(text, optimizer="adagrad")
    assert "optimizer/accumulator/0.weight" in named.state()


def test_the_file_is_a_plain_state_dict_and_predicts_alone(trainer, tmp_path, monkeypatch):
    import safetensors.torch
    import torch

    from disdel.worker import own_code
    from disdel.worker.model_file import load_predictor

    mine = trainer(TIED + "\ndef preprocess(x): return x / 2\n")
    x, y = blocks()
    mine.train(x, y)
    path = tmp_path / "model.safetensors"
    mine.save_model(path)
    # As the docs say it.
    model = UserModule(collect(f"{tmp_path}/net.py:make").ref, tmp_path).call()
    model.load_state_dict(safetensors.torch.load_file(path))
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(x[0]) / 2).softmax(1)
    assert model.again.weight is model.inner.weight
    monkeypatch.setattr(own_code, "BUNDLED", tmp_path)
    with pytest.raises(UsageError, match=r"net.py:make, and its code is not here"):
        load_predictor(path, None)
    code = collect(f"{tmp_path}/net.py:make")
    code.write(tmp_path)
    np.testing.assert_allclose(load_predictor(path, None)(x[0]), expected, rtol=1e-6)
    (tmp_path / "net.py").write_text(make("nn.Linear(4, 3)"))
    collect(f"{tmp_path}/net.py:make").write(tmp_path)
    with pytest.raises(UsageError, match=r"weights are not those of .*net.py:make as it is now"):
        load_predictor(path, None)


def test_a_finished_training_gives_the_users_module(trainer, tmp_path):
    from disdel.api import Trained
    from disdel.controller.settings import Settings

    mine = trainer(TIED)
    folder = tmp_path / "run"
    folder.mkdir()
    mine.save_model(folder / "model.safetensors")
    collect(f"{tmp_path}/net.py:make").write(folder / "code")
    model = Trained(None, folder, Settings()).model
    assert type(model).__name__ == "Net"
    np.testing.assert_array_equal(model.inner.weight.detach(), mine.state()["model/inner.weight"])


@pytest.mark.parametrize(
    ("modules", "classes", "expected"),
    [
        ("Zero(4, classes)", 3, [1 / 3] * 3),
        ("Zero(4, 1)", 2, [0.5, 0.5]),
        ("Zero(4, 1), nn.Sigmoid()", 2, [0.5, 0.5]),
        ("Zero(4, 1)", 0, [0.0]),
    ],
)
def test_predictions_are_probabilities_or_numbers(
    trainer, tmp_path, monkeypatch, modules, classes, expected
):
    from disdel.worker import own_code
    from disdel.worker.model_file import load_predictor

    trainer(make(modules, head=ZERO), classes=classes).save_model(tmp_path / "model.safetensors")
    collect(f"{tmp_path}/net.py:make").write(tmp_path)
    monkeypatch.setattr(own_code, "BUNDLED", tmp_path)
    predict = load_predictor(tmp_path / "model.safetensors", None)
    np.testing.assert_allclose(predict(np.ones((2, 4), np.float32)), [expected] * 2, rtol=1e-6)
