"""What a round is in each setting, for everybody who runs it. Imports NumPy alone."""

import functools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Setting:
    """A round: `cohort` of `clients` train `epochs` over `samples` of their own each."""

    dataset: str
    partition: str
    network: str
    clients: int
    cohort: int
    samples: int
    epochs: int
    rate: float
    batch: int = 10

    @property
    def steps(self):
        """Steps of a round, all clients together."""
        return self.cohort * self.epochs * -(-self.samples // self.batch)


SETTINGS = {
    "fedkeeper": Setting("mnist", "shards:2", "cnn2", 100, 10, 600, 5, 0.01),
    "pfl": Setting("cifar10", "iid", "small_cnn", 1000, 50, 50, 1, 0.1),
}


@functools.cache
def samples_of(setting, npz, client, seed):
    """One client's images, channels first as bytes, and labels."""
    x, y, order = _dealt(setting, npz, seed)
    mine = order[client]
    return np.ascontiguousarray(x[mine].transpose(0, 3, 1, 2)), y[mine].astype(np.int64)


@functools.cache
def _dealt(setting, npz, seed):
    """All samples, and who owns which: positions of shape (clients, samples)."""
    with np.load(npz) as data:
        x, y = data["x_train"], data["y_train"].ravel()
    random = np.random.default_rng(seed)
    if setting.partition == "iid":
        order = random.permutation(len(y)).reshape(setting.clients, -1)
    else:
        shards = np.argsort(y, kind="stable").reshape(2 * setting.clients, -1)
        order = shards[random.permutation(len(shards))].reshape(setting.clients, -1)
    assert order.shape[1] == setting.samples
    return x, y, order
