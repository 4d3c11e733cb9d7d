"""The networks of both settings in PyTorch, for everybody; images come channels first."""

from torch import nn

loss = nn.CrossEntropyLoss()


def preprocess(x):
    """Bytes to numbers between 0 and 1."""
    return x.float() / 255


def cnn2(input_shape=(1, 28, 28), classes=10):
    """FedKeeper's (Chadha, Jindal and Gerndt, 2020): 582,026 parameters on MNIST."""
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * _after(height) * _after(width), 512),
        nn.ReLU(),
        nn.Linear(512, classes),
    )


def _after(size):
    return ((size - 4) // 2 - 4) // 2


def small_cnn(input_shape=(3, 32, 32), classes=10):
    """The CNN of pfl-research's CIFAR-10 benchmark: 1,626,442 parameters on CIFAR-10."""
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, classes),
    )
