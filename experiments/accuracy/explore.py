"""What averages every few steps and other learning rates do to ResNet-20's accuracy on CIFAR-10.

    python experiments/accuracy/explore.py path/to/cifar10-images.zip --workers 4 --sync 8 \
        --learning-rate 0.004 [--epochs 2] [--seed 0] [--shape cosine] [--warmup 0.05] [--batch 64]

The workers of a run one after the other in one process, on one CPU thread: the project's trainer
for PyTorch, order of samples, rounds and average, without platform, Redis and containers, so that
a round costs nothing. A line of `explored.jsonl` beside this file is added.
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from disdel.data import import_dataset, load_arrays
from disdel.data.partitioners.built_in import shuffled
from disdel.models import built_in
from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule, round_steps
from disdel.strategies.aggregation import weighted_mean
from disdel.types import RateSchedule
from disdel.types.assignment import equal_counts
from disdel.worker.network import TrainerCache

RESULTS = Path(__file__).parent / "explored.jsonl"
DATASET, NETWORK, PRECISION = "cifar10", "resnet20", "bfloat16"
BLOCK_STEPS = 32
SCORE_BATCH = 500


def accuracy(trainer: Trainer, x, y) -> float:
    starts = range(0, len(x), SCORE_BATCH)
    scores = [trainer.score(x[i : i + SCORE_BATCH], y[i : i + SCORE_BATCH]) for i in starts]
    return sum(score.correct for score in scores) / len(x)


def explore(options: argparse.Namespace, arrays) -> dict:
    spec = built_in(NETWORK, input_shape=arrays.spec.input_shape, classes=arrays.spec.classes)
    network = Network(
        runtime="torch",
        model=spec,
        optimizer="adam",
        learning_rate=options.learning_rate,
        seed=options.seed,
        threads=1,
        precision=PRECISION,
    )
    trainer = TrainerCache().get(network, arrays.spec.input_dtype)
    order = shuffled(len(arrays.train_x), options.seed)
    ends = np.cumsum(equal_counts(len(order), options.workers))[:-1]
    shards = np.split(order, ends)
    schedules = [
        Schedule(len(shard), options.batch, options.seed, worker)
        for worker, shard in enumerate(shards)
    ]
    most_steps = options.epochs * max(schedule.steps_per_epoch for schedule in schedules)
    sync = options.sync if options.sync == "epoch" else int(options.sync)
    rounds = options.epochs if sync == "epoch" else -(-most_steps // sync)
    rates = RateSchedule(shape=options.shape, warmup=options.warmup)
    scored_after = {max(1, round(rounds * (e + 1) / options.epochs)) for e in range(options.epochs)}
    test_y = np.asarray(arrays.test_y, np.int32)
    state = {name: np.array(value) for name, value in trainer.state().items()}
    curve = []
    for number in range(1, rounds + 1):
        parts = []
        for shard, schedule in zip(shards, schedules, strict=True):
            trainer.load_state(state)
            total = options.epochs * schedule.steps_per_epoch
            at, stop = round_steps(
                schedule, epochs=options.epochs, rounds=rounds, sync=sync, round_number=number
            )
            for step, positions in schedule.blocks(at, stop, BLOCK_STEPS):
                x, y = arrays.train_x[shard[positions]], arrays.train_y[shard[positions]]
                factors = rate_factors(rates, at, step, total)
                trainer.train(x, y.astype(np.int32), 1, factors)
                at = step
            parts.append({name: np.array(value) for name, value in trainer.state().items()})
        sizes = [len(shard) for shard in shards]
        state = {name: weighted_mean([part[name] for part in parts], sizes) for name in state}
        if number in scored_after:
            trainer.load_state(state)
            curve.append(round(accuracy(trainer, arrays.test_x, test_y), 4))
    return {"accuracies": curve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sync", default="epoch", help="epoch, or a number of steps")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", default="cosine")
    parser.add_argument("--warmup", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    # The samples are not written to.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    with tempfile.TemporaryDirectory() as folder:
        import_dataset(DATASET, options.images, Path(folder))
        arrays = load_arrays(DATASET, Path(folder))
        began_s = time.perf_counter()
        found = explore(options, arrays)
    settings = {name: value for name, value in vars(options).items() if name != "images"}
    line = settings | found | {"s": round(time.perf_counter() - began_s)}
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")
    print(line)


if __name__ == "__main__":
    main()
