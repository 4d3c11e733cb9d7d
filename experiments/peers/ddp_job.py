"""PyTorch's DistributedDataParallel: processes with gloo on one machine, one thread each.

Each process takes batches of `--batch` from its share of every epoch's permutation, as each of
disdel's workers does from its shard; gradients are averaged every step. Samples are indexed from
one tensor in memory, which is faster than a DataLoader. Prints one JSON object: the accuracy on the
test split.
"""

import argparse
import json
import os
import tempfile

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

SCORE_BATCH = 1000


def build_model(channels, height, width):
    """The default network of disdel; the softmax is part of the loss."""
    features = 32 * ((height - 2) // 2) * ((width - 2) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def images(x):
    """uint8 (samples, height, width, channels) as channels first."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def work(rank, options, meeting):
    """One process: its share of every epoch; the first one scores."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes
    )
    with np.load(options.npz) as data:
        x, y = images(data["x_train"]), torch.from_numpy(data["y_train"].astype(np.int64))
    torch.manual_seed(options.seed)
    model = DistributedDataParallel(build_model(*x.shape[1:]))
    optimizer = torch.optim.Adam(model.parameters())
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(options.epochs):
        shuffle = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        mine = torch.randperm(len(x), generator=shuffle)[rank :: options.processes]
        for positions in mine.split(options.batch):
            optimizer.zero_grad()
            loss_of(model(x[positions].float() / 255), y[positions]).backward()
            optimizer.step()
    if rank == 0:
        print(json.dumps({"accuracy": accuracy(model.module, options.npz)}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


@torch.no_grad()
def accuracy(model, npz):
    with np.load(npz) as data:
        x, y = images(data["x_test"]), torch.from_numpy(data["y_test"].astype(np.int64))
    hits = 0
    for part, labels in zip(x.split(SCORE_BATCH), y.split(SCORE_BATCH), strict=True):
        hits += int((model(part.float() / 255).argmax(1) == labels).sum())
    return hits / len(y)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # As torchrun does where nothing else is said.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(options, f"{folder}/meeting"), nprocs=options.processes)


if __name__ == "__main__":
    main()
