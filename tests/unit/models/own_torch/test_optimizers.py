"""Optimizers of PyTorch, beside PyTorch's own steps, and who chooses them."""

import numpy as np
import pytest

from disdel.models.user.describe import describe
from disdel.types import OptimizerGroup
from tests.support.torch_nets import LOGITS, blocks, make

pytestmark = pytest.mark.framework


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
    own = describe(requested(text)).model.default_optimizer
    assert own.name == "sgd"
    assert own.groups == (
        OptimizerGroup(parameters=("0.weight",), settings=own.groups[0].settings),
    )
    x, y = blocks(steps=1)
    one, same = trainer(text, learning_rate=0.5), trainer(text, optimizer="sgd", learning_rate=0.5)
    one.train(x, y)
    same.train(x, y)
    np.testing.assert_array_equal(one.state()["model/0.weight"], same.state()["model/0.weight"])
    named = trainer(text, optimizer="adagrad")
    assert "optimizer/accumulator/0.weight" in named.state()
