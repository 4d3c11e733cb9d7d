"""How the join of a round grows: weights down, weights up and their average, without training.

    python experiments/peers/growth.py [--parameters 1e5 1e6 1e7 1e8] [--workers 1 2 4 8 16]

States of MLPs with Adam's two slots go through a real Redis by the library's own store and average:
processes, as many as CPUs, play the workers. What a worker's state takes three times over, and all
updates at once in Redis, must fit `--memory-gb`. Where it does not, the weights alone go, as with
`--optimizer-state reset`; setups that do not fit even so are left out and named. Writes
`growth.json` after every measurement, and from it `growth.png`; `--plot` only draws.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from disdel.protocol.messages import Update
from disdel.store.codec import encode, read_tensors
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_store import RedisStore
from disdel.worker.collect import average

HERE = Path(__file__).parent
PHASES = ("weights down", "weights up", "average")
INPUTS, CLASSES = 784, 10
# The state that Adam trains: weights and two moments, float32.
KINDS = ("model", "momentum", "velocity")
BYTES_PER_PARAMETER = 4
# A worker holds its state, the blob that it writes and what it has read.
COPIES_IN_A_WORKER = 3
SAMPLES = 1000


def hidden_width(parameters):
    """The width of two equal hidden layers, so that the MLP has about so many parameters."""
    linear = INPUTS + CLASSES + 2
    return max(1, round((-linear + math.sqrt(linear**2 + 4 * parameters)) / 2))


def state_of(parameters, kinds):
    """Names and float32 arrays of the MLP's layers, of the first so many of `KINDS`."""
    width = hidden_width(parameters)
    shapes = {
        "dense/kernel": (INPUTS, width),
        "dense/bias": (width,),
        "dense_1/kernel": (width, width),
        "dense_1/bias": (width,),
        "dense_2/kernel": (width, CLASSES),
        "dense_2/bias": (CLASSES,),
    }
    random = np.random.default_rng(0)
    return {
        f"{kind}/{name}": random.standard_normal(shape, np.float32)
        for kind in KINDS[:kinds]
        for name, shape in shapes.items()
    }


class Worker:
    """A process that plays workers: it keeps a state, so that making one is not measured."""

    state: ClassVar[dict[str, np.ndarray]] = {}

    @classmethod
    def prepare(cls, parameters, kinds, all_ready):
        cls.state = state_of(parameters, kinds)
        all_ready.wait()

    @staticmethod
    def down(url, key):
        """When reading the state began and ended, on the machine's own clock."""
        store = RedisStore(url)
        began_s = time.monotonic()
        read_tensors(store, key)
        ended_s = time.monotonic()
        store.close()
        return began_s, ended_s

    @classmethod
    def up(cls, url, key):
        """When writing an update began and ended."""
        store = RedisStore(url)
        began_s = time.monotonic()
        store.put(key, encode(cls.state, {"samples": str(SAMPLES)}))
        ended_s = time.monotonic()
        store.close()
        return began_s, ended_s


def span_s(calls):
    """From the first beginning to the last end."""
    times = [call.result() for call in calls]
    return max(end for _, end in times) - min(start for start, _ in times)


def measure(url, parameters, kinds, workers):
    """One join: seconds by phase."""
    store = RedisStore(url)
    processes = min(workers, os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    all_ready = context.Barrier(processes)
    with ProcessPoolExecutor(
        processes, context, initializer=Worker.prepare, initargs=(parameters, kinds, all_ready)
    ) as pool:
        # As many calls as processes start all of them, and end when all of them are there.
        span_s([pool.submit(Worker.up, url, "growth:state:0") for _ in range(processes)])
        down = [pool.submit(Worker.down, url, "growth:state:0") for _ in range(workers)]
        down_s = span_s(down)
        up_s = span_s(
            [pool.submit(Worker.up, url, f"growth:update:{worker}") for worker in range(workers)]
        )
    updates = [
        Update(
            client=worker,
            worker=worker,
            attempt=0,
            key=f"growth:update:{worker}",
            samples=SAMPLES,
            weight=1,
        )
        for worker in range(workers)
    ]
    began_s = time.monotonic()
    average(store, updates, "growth:state:1")
    average_s = time.monotonic() - began_s
    store.delete_prefix("growth:")
    store.close()
    return dict(zip(PHASES, (down_s, up_s, average_s), strict=True))


def needed_bytes(parameters, kinds, workers):
    """Redis holds every update and two states; the processes hold their copies."""
    in_processes = COPIES_IN_A_WORKER * min(workers, os.cpu_count() or 1)
    return BYTES_PER_PARAMETER * kinds * parameters * (workers + 2 + in_processes)


def fitting_kinds(parameters, workers, memory_bytes):
    """The whole state, or the weights alone, whichever fits; None where neither does."""
    for kinds in (len(KINDS), 1):
        if needed_bytes(parameters, kinds, workers) <= memory_bytes:
            return kinds
    return None


def measure_all(options):
    results = {
        "conditions": {"cpus": os.cpu_count(), "system": platform.platform()},
        "runs": [],
        "left_out": [],
    }
    with PrivateRedis() as server:
        server.ready()
        for repeat in range(options.repeats):
            for parameters in map(int, options.parameters):
                for workers in options.workers:
                    kinds = fitting_kinds(parameters, workers, options.memory_gb * 1e9)
                    if kinds is None:
                        if repeat == 0:
                            left_out = {"parameters": parameters, "workers": workers}
                            results["left_out"].append(left_out)
                            print(f"left out, above {options.memory_gb:g} GB: {left_out}")
                        continue
                    seconds = measure(server.url, parameters, kinds, workers)
                    results["runs"].append(
                        {
                            "parameters": parameters,
                            "workers": workers,
                            "weights_alone": kinds == 1,
                            "repeat": repeat,
                            "seconds": seconds,
                        }
                    )
                    print(results["runs"][-1], flush=True)
                    options.results.write_text(json.dumps(results, indent=1) + "\n")
    return results


def medians(runs):
    """(parameters, workers) -> seconds by phase."""
    setups = dict.fromkeys((run["parameters"], run["workers"]) for run in runs)
    return {
        setup: {
            phase: statistics.median(
                run["seconds"][phase]
                for run in runs
                if (run["parameters"], run["workers"]) == setup
            )
            for phase in PHASES
        }
        for setup in setups
    }


def plot(results, path):
    """Left: the whole join by parameters, a line a number of workers. Right: its phases."""
    try:
        import matplotlib as mpl
    except ImportError:
        sys.exit("no matplotlib: install it, then draw with --plot")
    mpl.use("agg")
    from matplotlib import pyplot as plt

    runs = results["runs"]
    middle = medians(runs)
    alone = {(run["parameters"], run["workers"]) for run in runs if run["weights_alone"]}
    workers = sorted({setup[1] for setup in middle})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for count, marker in zip(workers, "os^Dv*Px", strict=False):
        mine = sorted(setup for setup in middle if setup[1] == count)
        totals = [sum(middle[setup].values()) for setup in mine]
        name = f"{count} worker{'s' * (count > 1)}"
        [line] = left.plot([setup[0] for setup in mine], totals, marker=marker, label=name)
        hollow = [setup for setup in mine if setup in alone]
        left.plot(
            [setup[0] for setup in hollow],
            [sum(middle[setup].values()) for setup in hollow],
            marker,
            color=line.get_color(),
            markerfacecolor="white",
            zorder=3,
        )
        for run in runs:
            if run["workers"] == count:
                whole_s = sum(run["seconds"].values())
                left.plot(run["parameters"], whole_s, ".", color=line.get_color(), alpha=0.5)
    left.set(xscale="log", yscale="log", xlabel="trainable parameters", ylabel="seconds a round")
    left.set_title("a join (hollow: weights alone, without Adam's moments)")
    left.grid(alpha=0.3)
    left.legend()
    # The largest network whose whole state was measured with the most workers.
    shown = max(setup[0] for setup in middle.keys() - alone if setup[1] == workers[-1])
    mine = sorted(setup for setup in middle if setup[0] == shown)
    base = [0.0] * len(mine)
    for phase, hatch in zip(PHASES, ("", "//", ".."), strict=True):
        heights = [middle[setup][phase] for setup in mine]
        labels = [str(setup[1]) for setup in mine]
        right.bar(labels, heights, bottom=base, label=phase, hatch=hatch, edgecolor="white")
        base = [below + height for below, height in zip(base, heights, strict=True)]
    right.set(xlabel="workers", ylabel="seconds a round", title=f"{shown:,} parameters")
    right.legend()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-gb", type=float, default=16.0)
    parser.add_argument("--results", type=Path, default=HERE / "growth.json")
    parser.add_argument("--plot", action="store_true", help="draw what was measured before")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.plot else measure_all(options)
    plot(results, options.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
