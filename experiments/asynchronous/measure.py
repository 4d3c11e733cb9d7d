#!/usr/bin/env python3
"""What a federation with stragglers costs to an accuracy, with rounds that wait or without.

usage: measure.py [--seeds N ...] [--ways NAME ...] [--runtime NAME]

Twenty clients own two shards each of the digits, sorted by label. A client takes a tenth of a
second to load its samples, and every fifth one five times as long: in the user's function, as a
slow disk would. A line of JSON a run on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import disdel
from disdel.data.loading import load_arrays
from disdel.settings import Settings

CLIENTS, SLOW, FAST_S, TIMES = 20, 5, 0.1, 5
TARGET = 0.8
SITE = """
import time

import numpy as np

PATH, CLIENTS, SLOW, FAST_S, TIMES = {site!r}


def counts():
    with np.load(PATH) as all_samples:
        return [len(all_samples[f"y{{client}}"]) for client in range(CLIENTS)]


def clients(client, split):
    time.sleep(FAST_S * (1 if client % SLOW else TIMES))
    with np.load(PATH) as all_samples:
        return all_samples[f"x{{client}}"], all_samples[f"y{{client}}"]
"""
WAYS = {
    "fedavg": {"strategy": "fedavg", "rounds": 120},
    "fedbuff": {"strategy": "fedbuff", "rounds": 480},
    "fedbuff, 4": {"strategy": "fedbuff:buffer=4", "rounds": 240},
    "fedbuff, 8": {"strategy": "fedbuff:buffer=8", "rounds": 120},
    "fedbuff, 8, power 0": {"strategy": "fedbuff:buffer=8,power=0", "rounds": 120},
    "fedbuff, 8, shrinks": {"strategy": "fedbuff:buffer=8,shrinks=yes", "rounds": 120},
}


def write_site(folder: Path) -> Path:
    arrays = load_arrays("digits", Settings().data_dir)
    x, y = arrays.train_x, arrays.train_y
    order = np.argsort(y, kind="stable")
    shards = np.array_split(order, 2 * CLIENTS)
    dealt = np.random.default_rng(0).permutation(2 * CLIENTS).reshape(CLIENTS, 2)
    own = {}
    for client, (one, other) in enumerate(dealt):
        positions = np.sort(np.concatenate([shards[one], shards[other]]))
        own |= {f"x{client}": x[positions], f"y{client}": y[positions]}
    np.savez(folder / "digits.npz", **own)
    path = folder / "site_of_clients.py"
    path.write_text(SITE.format(site=(str(folder / "digits.npz"), CLIENTS, SLOW, FAST_S, TIMES)))
    return path


def measure(site: Path, way: str, seed: int, runtime: str) -> dict[str, object]:
    trained = disdel.federate(
        "digits",
        data=f"{site}:clients",
        clients_per_round=8,
        containers=4,
        batch=10,
        learning_rate=0.05,
        model="mlp",
        runtime=runtime,
        target_accuracy=TARGET,
        seed=seed,
        run_dir=site.parent / "runs",
        **WAYS[way],
    )
    report = trained.report
    last = report.rounds[-1]
    return {
        "way": way,
        "seed": seed,
        "accuracy": round(last.accuracy, 4),
        "rounds": len(report.rounds),
        "updates": len(report.ledger),
        "staleness": round(float(np.mean([line.staleness for line in report.ledger])), 2),
        "gb_s": round(report.totals.gb_s, 2),
        "train_gb_s": round(
            sum(
                a.memory_mb / 1024 * a.duration_ms / 1000
                for a in report.activations
                if a.task == "train"
            ),
            2,
        ),
        "rounds_s": round(sum(one.wall_s for one in report.rounds), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9, 10, 11])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["fedavg", "fedbuff"])
    parser.add_argument("--runtime", default="compiled")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = write_site(Path(folder))
        for seed in given.seeds:
            for way in given.ways:
                print(json.dumps(measure(site, way, seed, given.runtime)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
