"""The networks of FLoX's experiment in PyTorch; images come channels first.

The paper gives the size of an update: 4.35 MB on CIFAR-10 and 0.55 MB on 28×28 pictures. These have
5.0 MB (Keras's well-known CNN for CIFAR-10) and 0.55 MB.
"""

from torch import nn

loss = nn.CrossEntropyLoss()


def preprocess(x):
    """Bytes to numbers between 0 and 1."""
    return x.float() / 255


def cifar(input_shape=(3, 32, 32), classes=10):
    """1,250,858 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(64 * 6 * 6, 512), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(512, classes),
    )


def digits(input_shape=(1, 28, 28), classes=10):
    """137,802 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 5 * 5, 74), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(74, classes),
    )
