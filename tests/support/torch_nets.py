"""Texts of files with a function `make`, and samples to train what they make on."""

import numpy as np


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
