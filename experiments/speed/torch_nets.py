"""The held-out networks in PyTorch: a plain loop trains them, and `disdel train --model`."""

import torch
from torch import nn

loss = nn.CrossEntropyLoss()


def optimizer(parameters):
    """Adam, as in Keras's networks."""
    return torch.optim.Adam(parameters)


def preprocess(x):
    """Bytes to numbers between 0 and 1; all else is as it should be."""
    return x / 255 if x.dim() == 4 else x


def table(input_shape, classes):
    """A multilayer perceptron on rows of numbers."""
    [inputs] = input_shape
    return nn.Sequential(
        *(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()),
        nn.Linear(256, classes),
    )


class Words(nn.Module):
    """One LSTM over embedded words."""

    def __init__(self, classes):
        super().__init__()
        self.embedding = nn.Embedding(2000, 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)
        self.dense = nn.Linear(64, classes)

    def forward(self, x):
        """Logits (n, classes) of words (n, length)."""
        _, (hidden, _) = self.lstm(self.embedding(x.long()))
        return self.dense(hidden[-1])


def lstm(input_shape, classes):  # noqa: ARG001
    """One LSTM over embedded words."""
    return Words(classes)


def _normed(inputs, filters, size, stride):
    conv = nn.Conv2d(inputs, filters, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters))


class Block(nn.Module):
    """Two convolutions, and what they are added to."""

    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.changed = nn.Sequential(
            *(_normed(inputs, filters, 3, stride), nn.ReLU(), _normed(filters, filters, 3, 1))
        )
        self.kept = nn.Identity() if stride == 1 else _normed(inputs, filters, 1, stride)

    def forward(self, x):
        """Of (n, inputs, height, width) to (n, filters, …)."""
        return torch.relu(self.changed(x) + self.kept(x))


def resnet20(input_shape, classes):
    """ResNet-20 (He et al., 2016, section 4.2), with 1×1 convolutions where shapes change."""
    blocks, inputs = [_normed(input_shape[0], 16, 3, 1), nn.ReLU()], 16
    for filters in (16, 32, 64):
        for block in range(3):
            blocks.append(Block(inputs, filters, 2 if filters > 16 and block == 0 else 1))
            inputs = filters
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
