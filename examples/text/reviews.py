"""Short reviews as token numbers, and a classifier of them."""

import random

import numpy as np
import torch
from torch import nn

LENGTH = 12  # tokens of a sentence; shorter ones are filled up with 0
GOOD = ["great", "lovely", "fast", "reliable", "cheap"]
BAD = ["awful", "broken", "slow", "noisy", "expensive"]
OTHER = ["the", "a", "it", "was", "is", "very", "phone", "screen", "battery", "and", "I", "think"]
NUMBERS = {word: number for number, word in enumerate([*GOOD, *BAD, *OTHER], start=1)}


def tokens(sentence):
    """The token numbers of a sentence, filled up with 0."""
    found = [NUMBERS[word] for word in sentence.split()][:LENGTH]
    return found + [0] * (LENGTH - len(found))


def load():
    """Samples of (1200, 12) token numbers, and "praise" or "complaint" for each."""
    draws = random.Random(0)
    rows, labels = [], []
    for _ in range(1200):
        label = draws.choice(["praise", "complaint"])
        words = draws.choices(OTHER, k=draws.randrange(4, 9))
        words += draws.choices(GOOD if label == "praise" else BAD, k=2)
        draws.shuffle(words)
        rows.append(tokens(" ".join(words)))
        labels.append(label)
    return np.array(rows, np.int32), np.array(labels)


class Classifier(nn.Module):
    """The mean of a sentence's embeddings, and one layer."""

    def __init__(self, classes):
        super().__init__()
        self.embedding = nn.Embedding(len(NUMBERS) + 1, 16, padding_idx=0)
        self.out = nn.Linear(16, classes)

    def forward(self, x):
        """From (batch, 12) token numbers to (batch, classes) logits."""
        return self.out(self.embedding(x).mean(dim=1))


def optimizer(parameters):
    """Adam, faster than by default: the network is small."""
    return torch.optim.Adam(parameters, lr=0.02)


def make(classes):
    """The module."""
    return Classifier(classes)
