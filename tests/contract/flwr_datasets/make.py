"""Writes `statistics.json`: what flwr-datasets makes of 6,000 labels of 10 classes.

It cannot be installed beside disdel, whose `rich` is newer than it allows, so this runs in an
environment of its own: pip install flwr-datasets==0.6.1; python make.py > statistics.json
"""

import json
import sys
import warnings

import numpy as np
from datasets import Dataset
from flwr_datasets import partitioner as flower

SEEDS, CLIENTS, CLASSES = 40, 20, 10
LABELS = np.arange(6000) * 7919 % CLASSES


def histogram(partitioner, labels):
    """The samples of each class, (clients, classes)."""
    partitioner.dataset = Dataset.from_dict({"label": labels.tolist()})
    parts = (partitioner.load_partition(i) for i in range(partitioner.num_partitions))
    return np.array([np.bincount(part["label"], minlength=CLASSES) for part in parts])


def skew(counts):
    """Means over clients: effective number of classes, classes; and the sizes' deviation."""
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(share * np.log(np.where(share, share, 1))).sum(1)
    return np.exp(entropy).mean(), (counts > 0).sum(1).mean(), counts.sum(1).std()


def over_seeds(make):
    found = np.array([skew(histogram(make(seed), LABELS)) for seed in range(SEEDS)])
    return {"mean": found.mean(0).round(4).tolist(), "std": found.std(0).round(4).tolist()}


def sizes(partitioner, ids):
    partitioner.dataset = Dataset.from_dict({"id": ids})
    return [len(partitioner.load_partition(i)) for i in range(partitioner.num_partitions)]


def made():
    for alpha in (0.1, 0.3, 1.0, 10.0):
        yield (
            f"dirichlet:{alpha:g}",
            over_seeds(
                lambda seed, alpha=alpha: flower.DirichletPartitioner(
                    CLIENTS, "label", alpha, min_partition_size=1, seed=seed
                )
            ),
        )
    yield (
        "shards:2",
        over_seeds(lambda seed: flower.ShardPartitioner(CLIENTS, "label", 2, seed=seed)),
    )
    for k in (2, 3):
        yield (
            f"classes:{k}",
            over_seeds(
                lambda seed, k=k: flower.PathologicalPartitioner(
                    CLIENTS, "label", k, "first-deterministic", seed=seed
                )
            ),
        )
    rows = list(range(60_000))
    yield "sizes:linear", sizes(flower.LinearPartitioner(10), rows)
    yield "sizes:square", sizes(flower.SquarePartitioner(10), rows)
    yield "sizes:exponential", sizes(flower.ExponentialPartitioner(10), rows)
    ids = np.random.default_rng(1).integers(0, 37, 6000)
    yield "by:id", sizes(flower.NaturalIdPartitioner("id"), ids.tolist())
    drawn = flower.DirichletPartitioner(CLIENTS, "label", 0.3, min_partition_size=0, seed=5)
    yield "shares of default_rng(5)", histogram(drawn, LABELS).tolist()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump(dict(made()), sys.stdout)
