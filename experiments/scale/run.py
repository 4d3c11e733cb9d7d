"""What 100, 1,000 and 10,000 actions would do: the simulation beside measurements, and past them.

    python experiments/scale/run.py

Reads `experiments/main_job/results.json` (this machine, 1 to 4 workers) to check the simulation
against, then asks it about clusters. Writes `results.md` and `results.json` beside this file.
"""

import json
import math
import statistics
from dataclasses import asdict
from pathlib import Path

from simulation import Cluster, Simulation, Work

from disdel.planner.averaging import choose_averaging
from disdel.planner.question import ASSUMED_CPUS
from disdel.runtimes.registry import TENSORFLOW

HERE = Path(__file__).parent
MEASURED = HERE.parent / "main_job" / "results.json"
WORKERS = (1, 2, 4, 16, 64, 256, 1000, 10_000)

# The default network on MNIST, five epochs. Sizes are exact: 693,962 parameters with Adam's two
# moments in float32; 784 bytes a sample and 4 its label.
MNIST = {
    "rounds": 5,
    "samples": 60_000,
    "batch_size": 64,
    "state_bytes": 3 * 693_962 * 4,
    "sample_bytes": 788,
    "memory_mb": 736,
    "collect_memory_mb": 128,
}


def measured_walls():
    """Median wall time of the whole command by number of workers."""
    runs = json.loads(MEASURED.read_text())["runs"]
    by_workers = {}
    for run in runs:
        if run["name"].startswith("disdel"):
            by_workers.setdefault(run["workers"], []).append(run["wall_s"])
    return {workers: statistics.median(walls) for workers, walls in sorted(by_workers.items())}


def fit_step(measured):
    """Seconds of a step with one thread, from the measured time of two workers alone.

    The other worker counts are then predictions. One worker has both threads, which make it
    as fast as the planner ships (disdel/runtimes/keras/runtime.py).
    """
    low, high = 1e-4, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if local(2, middle).wall_s > measured[2]:
            high = middle
        else:
            low = middle
    return low


def local(workers, step_s):
    """This machine: one invoker with two cores."""
    threads = max(1, 2 // workers)
    step_s = step_s / threads**TENSORFLOW.costs.thread_exponent
    work = Work(**MNIST, step_s=step_s, score_s=step_s / 3 * 10_000 / 64)
    cluster = Cluster(invokers=1, user_memory_mb=18_000, cores=2)
    return Simulation(work, cluster, workers, None).run()


def cloud(workers, fan_in, step_s):
    """As many machines of four cores and 4 GB as the workers need, some stragglers, some losses."""
    work = Work(**MNIST, step_s=step_s, score_s=step_s / 3 * 10_000 / 64)
    cluster = Cluster(
        invokers=max(1, -(-workers // 4)),
        user_memory_mb=4096,
        cores=4,
        jitter=0.1,
        straggler_share=0.01,
        loss_share=0.002,
    )
    return Simulation(work, cluster, workers, fan_in).run()


def planned_fan_in(workers):
    """What the planner chooses on a cluster, which does not tell its CPUs."""
    averaging = choose_averaging(
        workers,
        MNIST["state_bytes"],
        asked=None,
        cpus=ASSUMED_CPUS,
        memory_max_mb=4096,
        free_mb=math.inf,
        rounds=MNIST["rounds"],
    )
    return averaging.fan_in


def main():
    measured = measured_walls()
    step_s = fit_step(measured)
    lines = [
        "## This machine",
        "",
        f"Fitted to two workers: {step_s * 1000:.1f} ms a step. The other rows are predictions.",
        "",
        "| workers | measured s | simulated s | ratio |",
        "| --- | --- | --- | --- |",
    ]
    results = {"step_s": step_s, "local": [], "cloud": []}
    for workers, wall_s in measured.items():
        outcome = local(workers, step_s)
        ratio = outcome.wall_s / wall_s
        lines.append(f"| {workers} | {wall_s:.1f} | {outcome.wall_s:.1f} | {ratio:.2f} |")
        results["local"].append({"workers": workers, "measured_s": wall_s, **asdict(outcome)})
    lines += [
        "",
        "## Clusters",
        "",
        "Machines of four cores, one Redis at 1.2 GB/s, 1 % stragglers, 0.2 % lost activations.",
        "Seconds of the whole run; the parts are sums over its five rounds.",
        "",
        "| workers | averaging | wall | train | average | score | Redis busy | containers | lost |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for workers in WORKERS:
        planned = planned_fan_in(workers)
        for fan_in in (None, planned) if planned < workers else (None,):
            outcome = cloud(workers, fan_in, step_s)
            name = "one action" if fan_in is None else f"tree of {fan_in}"
            lines.append(
                f"| {workers} | {name} | {outcome.wall_s:.1f} | {outcome.train_s:.1f} "
                f"| {outcome.collect_s:.1f} | {outcome.score_s:.1f} | {outcome.redis_busy_s:.1f} "
                f"| {outcome.containers} | {outcome.lost} |"
            )
            results["cloud"].append({"workers": workers, "fan_in": fan_in, **asdict(outcome)})
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    (HERE / "results.json").write_text(json.dumps(results, indent=1, default=float) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
