"""Max pooling that computes channels last has the values and the layout of PyTorch's own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.framework
# Kernel, stride, padding, dilation, ceil mode.
HOW = [
    ([2, 2], [2, 2], [0, 0], [1, 1], False),
    ([3, 3], [2, 2], [1, 1], [1, 1], True),
    ([3, 2], [1, 2], [1, 0], [2, 1], False),
    ([12, 12], [12, 12], [0, 0], [1, 1], False),
]
SHAPES = {"large": (10, 17, 12, 12), "small": (2, 4, 12, 12), "few": (64, 3, 16, 16)}


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Only here: whoever collects tests reads this file, and PyTorch takes seconds."""
    global CPU, functional, nn, pooling, torch
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.nn import functional

    from disdel.runtimes.torch import pooling

    if pooling.OWN is None:
        pytest.skip("this PyTorch pools as it does")
    CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    pooling.pool_channels_last()


def samples(shape, dtype="float32"):
    """Of few values, so that many are equal, and some that are no number."""
    draws = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(shape, generator=draws)).round(decimals=1)
    x[torch.rand(shape, generator=draws) < 0.02] = torch.nan
    x[torch.rand(shape, generator=draws) < 0.02] = -torch.inf
    return x.to(getattr(torch, dtype))


def assert_same(found, wanted):
    """In value, place in memory, and which are no number."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True, check_stride=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_places_and_gradients_are_pytorchs_own(shape, how, dtype):
    x = samples(shape, dtype).requires_grad_()
    wanted, places = pooling.OWN.call_boxed(CPU, x.detach(), *how)
    values, found = functional.max_pool2d(x, *how, return_indices=True)
    assert_same(values.detach(), wanted)
    assert_same(found, places)
    given = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    [gradient] = torch.autograd.grad(values, x, given)
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    assert_same(gradient, backward(given, x.detach(), *how, places))


def test_large_images_are_pooled_channels_last_and_others_as_they_are(monkeypatch):
    seen = []

    class Watched:
        def call_boxed(self, keys, x, *how):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return own.call_boxed(keys, x, *how)

    own = pooling.OWN
    monkeypatch.setattr(pooling, "OWN", Watched())
    for shape in SHAPES.values():
        nn.MaxPool2d(2)(samples(shape))
        functional.max_pool2d(samples(shape), 2)
    assert seen == [True, True, False, False, False, False]
    # What has another layout keeps it, as PyTorch has it.
    last = samples(SHAPES["large"]).contiguous(memory_format=torch.channels_last)
    assert_same(nn.MaxPool2d(2)(last), own.call_boxed(CPU, last, [2, 2])[0])


def test_second_derivatives_samples_without_a_batch_and_mapped_functions_go_on():
    x = torch.randn(10, 17, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda t: functional.max_pool2d(t, 2).square()[:1, :2], (x,), fast_mode=True
    )
    assert torch.equal(functional.max_pool2d(x[0], 2), functional.max_pool2d(x, 2)[0])
    mapped = torch.func.vmap(lambda t: functional.max_pool2d(t[None], 2)[0])(x)
    assert torch.equal(mapped, functional.max_pool2d(x, 2))
    with pytest.raises(RuntimeError, match="Output size is too small"):
        functional.max_pool2d(torch.zeros(99, 8, 1, 99), 3)


def test_a_trainer_on_the_cpu_pools_so(monkeypatch):
    from disdel.runtimes.torch import trainer
    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule

    called = []
    monkeypatch.setattr(trainer, "pool_channels_last", lambda: called.append(True))
    model = nn.Linear(2, 2)
    optimizer = TorchOptimizer([Group(keras_rule("sgd", 0.5), dict(model.named_parameters()))])
    trainer.TorchTrainer(model, optimizer=optimizer, save=lambda path: None)
    assert called


def test_what_follows_may_be_viewed_where_an_image_becomes_one_value():
    x = samples(SHAPES["large"])
    turned = nn.ConvTranspose2d(17, 8, 3)(functional.max_pool2d(x, 12))
    assert turned.view(10, -1).shape == (10, 72)


# In a process of its own, since a kernel stays.
OWN_KERNEL = """
import torch
from disdel.runtimes.torch import pooling
library = torch.library.Library("aten", "IMPL")
library.impl("max_pool2d_with_indices", lambda x, *how: (x.sum(), x.argmax()), "CPU")
pooling.pool_channels_last()
assert torch.nn.functional.max_pool2d(torch.ones(10, 17, 12, 12), 2).dim() == 0
"""


def test_a_kernel_of_the_users_stays():
    subprocess.run([sys.executable, "-W", "ignore", "-c", OWN_KERNEL], check=True)
