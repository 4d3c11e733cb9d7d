"""A client's local training in plain PyTorch: what Flower's clients do, and the bare loop."""

import torch
from networks import loss, preprocess


def train(model, setting, x, y):
    """Epochs over shuffled samples in batches, with a new SGD; returns the mean loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.rate)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    model.train()
    total, batches = 0.0, 0
    for _ in range(setting.epochs):
        for positions in torch.randperm(len(y)).split(setting.batch):
            optimizer.zero_grad()
            value = loss(model(preprocess(x[positions])), y[positions])
            value.backward()
            optimizer.step()
            total, batches = total + value.detach(), batches + 1
    return float(total / batches)
