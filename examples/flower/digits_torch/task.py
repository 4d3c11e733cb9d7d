"""The network, its data and its steps: nothing of Flower."""

import torch
from torch import nn

FEATURES, CLASSES, SAMPLES = 20, 4, 400


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(FEATURES, 32)
        self.out = nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def make(seed):
    torch.manual_seed(seed)
    return Net()


def samples(partition, seed):
    """Points around a centre for each class, noisier in later partitions; -1 is the test split."""
    drawn = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, generator=drawn)
    drawn.manual_seed(seed * 1000 + partition + 2)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=drawn)
    noise = torch.randn(SAMPLES, FEATURES, generator=drawn)
    return centres[labels] + (1.5 + 0.1 * partition) * noise, labels


def train(net, x, y, epochs, rate, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    net.train()
    total = 0.0
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
    return total / (epochs * len(x))


@torch.no_grad()
def test(net, x, y):
    net.eval()
    logits = net(x)
    loss = nn.functional.cross_entropy(logits, y).item()
    return loss, (logits.argmax(1) == y).float().mean().item()
