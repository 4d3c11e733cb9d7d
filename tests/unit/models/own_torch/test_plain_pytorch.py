"""Modules and optimizers as people have them, beside a plain PyTorch loop over the same."""

import numpy as np
import pytest

from tests.support.torch_nets import LOGITS, ZERO, blocks, make

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
]

SPARE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(4, 3), nn.Linear(4, 3)
    def forward(self, x):
        return self.used(x)
"""
SOMETIMES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.seldom = nn.Linear(4, 3), nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    def forward(self, x):
        self.calls += 1
        return self.always(x) + (self.seldom(x) if self.calls % 3 == 2 else 0)
"""
HOOKED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.first.weight.register_hook(lambda g: g.clamp(-0.01, 0.01))
        self.last.bias.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", p.grad * 0))
        self.last.register_forward_hook(lambda module, given, made: 2 * made)
        self.last.register_full_backward_hook(lambda module, into, out: (2 * into[0],))
    def forward(self, x):
        return self.last(self.first(x))
"""
SPARSE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.last = nn.Embedding(9, 3, sparse=True), nn.Linear(3, 3)
    def forward(self, x):
        return self.last(self.embed((x.abs() * 3).long().clamp(0, 8)).mean(1))
"""
PARAMETRIZED = """
class Net(nn.Sequential):
    def __init__(self):
        normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        bounded = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        super().__init__(normed, bounded, nn.Linear(4, 3))
"""
FROZEN = """
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        self[0].requires_grad_(False)
    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self
"""
WHOLE = """
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return 2 * x
    @staticmethod
    def backward(ctx, grad): return 3 * grad
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(4, 3))
    def forward(self, x): return Double.apply(super().forward(x))
"""
CHECKPOINTED = """
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(4, 4), nn.Linear(4, 3))
    def forward(self, x):
        first = lambda x: self[0](x).relu()
        x = x.clone().requires_grad_()
        return self[1](torch.utils.checkpoint.checkpoint(first, x, use_reentrant=True))
"""
IN_TURNS = """
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.Linear(4, 3))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    def forward(self, x):
        self.calls += 1
        self[0].requires_grad_(int(self.calls) % 2 == 0)
        return super().forward(x)
"""
SECOND_DERIVATIVES = """
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            outputs = super().forward(x)
            slope, = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        return outputs + slope.square().sum(1, keepdim=True) * torch.arange(3)
"""
JACOBIAN = """
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    def forward(self, x):
        return torch.vmap(torch.func.jacrev(super().forward))(x).square().sum(2)
"""


def pair(trainer, head, made, loss="F.cross_entropy"):
    """The trainer of a `Net` and an optimizer, and the same by hand with the same weights."""
    import torch

    head = f"{head}\ndef optimizer(model):\n    return torch.optim.{made}\nloss = {loss}\n"
    text = make("Net()", head=head).replace("nn.Sequential(Net())", "Net()")
    mine = trainer(text)
    names = {}
    exec(text, names)
    plain = names["make"]((4,), 3)
    given = {n.removeprefix("model/"): torch.tensor(v) for n, v in mine.state().items()}
    wanted = plain.state_dict(keep_vars=True)
    plain.load_state_dict({name: given[name] for name in wanted})
    return text, mine, plain, names["optimizer"](plain), names["loss"]


@pytest.mark.parametrize(
    ("head", "made"),
    [
        (SPARE, "AdamW(model.parameters(), lr=0.1, weight_decay=0.5)"),
        (SPARE, "SGD(model.parameters(), lr=0.1, weight_decay=0.5, momentum=0.9)"),
        (SPARE, "AdamW(model.parameters(), lr=0.1, fused=True, amsgrad=True)"),
        (SOMETIMES, "AdamW(model.parameters(), lr=0.1, weight_decay=0.1)"),
        (SOMETIMES, "SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5)"),
        (SOMETIMES, "NAdam(model.parameters(), lr=0.1)"),
        (SOMETIMES, "Adagrad(model.parameters(), lr=0.1, lr_decay=0.1)"),
        (HOOKED, "SGD(model.parameters(), lr=0.1, maximize=True)"),
        (SPARSE, "SGD(model.parameters(), lr=0.1, momentum=0.5)"),
        (SPARSE, "Adagrad(model.parameters(), lr=0.1)"),
        (PARAMETRIZED, "Adam(model.parameters(), lr=0.1, foreach=True)"),
        (FROZEN, "RMSprop((p for p in model.parameters() if p.requires_grad), lr=0.01)"),
        (CHECKPOINTED, "SGD(model.parameters(), lr=0.1)"),
        (IN_TURNS, "AdamW(model.parameters(), lr=0.1, weight_decay=0.1)"),
        (SECOND_DERIVATIVES, "SGD(model.parameters(), lr=0.1)"),
        (JACOBIAN, "SGD(model.parameters(), lr=0.1)"),
        (WHOLE, "Adam(model.named_parameters(), lr=0.1)"),
        (
            WHOLE,
            "AdamW([{'params': [model[0].weight], 'name': 'heavy'}, "
            "{'params': [model[0].bias], 'weight_decay': 0.0, 'lr': 0.3}], weight_decay=0.9)",
        ),
        (WHOLE, "Adam(model.parameters(), lr=torch.tensor(0.1), differentiable=True)"),
    ],
)
def test_weights_are_those_of_a_plain_loop(trainer, head, made):
    import torch

    text, mine, plain, optimizer, loss = pair(trainer, head, made)
    x, y = blocks()
    if "differentiable" in made:  # plain PyTorch has no such loop over leaves
        optimizer = torch.optim.Adam(plain.parameters(), lr=0.1)
    plain.train()
    for samples, labels in zip(torch.from_numpy(x), torch.from_numpy(y).long(), strict=True):
        optimizer.zero_grad()
        loss(plain(samples), labels).backward()
        optimizer.step()
    mine.train(x[:2], y[:2])
    second = trainer(text, seed=9)
    second.load_state(mine.state())
    second.train(x[2:], y[2:])
    state = second.state()
    for name, value in plain.state_dict().items():
        np.testing.assert_allclose(
            state[f"model/{name}"], value, rtol=1e-6, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize(
    "loss",
    [
        "nn.CrossEntropyLoss(weight=torch.tensor([0.1, 5.0, 1.0]), label_smoothing=0.1)",
        "nn.CrossEntropyLoss(ignore_index=1)",
        "nn.MultiMarginLoss()",
    ],
)
def test_a_batch_in_parts_is_the_same_step_whatever_its_samples_weigh(trainer, loss):
    text = make("Zero(4, classes)", head=f"{ZERO}\nloss = {loss}\noptimizer = 'sgd'")
    x, y = blocks(steps=1, batch=12)
    y[0, 4:8] = 1  # a part of ignored ones
    whole, parts = trainer(text, learning_rate=1.0), trainer(text, learning_rate=1.0)
    assert whole.train(x, y) == pytest.approx(parts.train(x, y, micro_batches=3), rel=1e-6)
    for name, value in whole.state().items():
        np.testing.assert_allclose(parts.state()[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_named_optimizer_leaves_alone_what_has_no_gradient(trainer):
    """As Keras has it, whose rule it is: neither moments nor decay."""
    text = make("Net()", head=SPARE).replace("nn.Sequential(Net())", "Net()")
    mine = trainer(text, optimizer="adamw", learning_rate=0.5)
    before = mine.state()
    mine.train(*blocks())
    moved = {name for name, value in mine.state().items() if (value != before[name]).any()}
    assert not [name for name in moved if "spare" in name]
    assert {"model/used.weight", "optimizer/step"} <= moved


def test_a_pretrained_module_comes_in_eval_mode_and_is_trained(trainer):
    text = (
        make(LOGITS, "nn.Dropout(1.0)").replace("return ", "made = ") + "    return made.eval()\n"
    )
    mine = trainer(text)
    x, y = blocks()
    assert mine.train(x, y) == pytest.approx(y.size * np.log(3), rel=1e-5)
