"""The main job against its peers, whole commands, measured in turn on one machine.

    python experiments/peers/run.py --work DIR --mnist mnist.npz --cifar10 cifar10-images.zip

Each repeat runs every contender once, one after the other, so that a machine that slows down slows
all of them. Every result is written at once; a run that was interrupted goes on where it stopped.
`--only NAME ...` selects contenders by a part of their name, `--table` rebuilds `results.md` from
`results.json` and measures nothing. Flower and PyTorch get environments of their own under DIR,
made on first use.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from watched import run_watched

from disdel.types.report_json import report_from_json
from disdel.types.timeline import split_time

HERE = Path(__file__).parent
PLAIN_FIT = HERE.parent / "main_job" / "plain_fit.py"
PACKAGES = ("tensorflow-cpu", "keras", "numpy", "redis")
FLOWER_PACKAGES = ("flwr[simulation]==1.41.0", "tensorflow-cpu=={tensorflow-cpu}", "keras=={keras}")
TORCH_PACKAGES = ("torch==2.13.0", "numpy=={numpy}")
BATCH = 64


@dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Attributes:
        name: in the results.
        dataset: "mnist" or "cifar10".
        command: the whole command for a seed.
        environ: what it needs beside the environment of this script.
        is_disdel: whether what it prints is disdel's report.
    """

    name: str
    dataset: str
    command: Callable[[int], list[str]]
    environ: Callable[[int], dict[str, str]]
    is_disdel: bool = False

    @property
    def label(self):
        return f"{self.dataset} {self.name}"


@dataclass(frozen=True)
class Goal:
    """`mine` takes at most `limit` of what `peer` takes, of a column of the results."""

    dataset: str
    mine: str
    peer: str
    column: str
    limit: float


GOALS = (
    Goal("mnist", "disdel", "model.fit", "wall_s", 0.60),
    Goal("cifar10", "disdel", "model.fit", "wall_s", 0.70),
    Goal("mnist", "disdel", "Flower", "wall_s", 0.40),
    Goal("mnist", "disdel, mixed", "Flower", "wall_s", 0.40),
    Goal("mnist", "disdel, torch", "DDP", "wall_s", 0.80),
    Goal("mnist", "disdel", "model.fit", "peak_pss_mb", 1.40),
    Goal("cifar10", "disdel", "model.fit", "peak_pss_mb", 1.40),
)
OVERHEAD_GOAL = 0.08
MIXED = ("--precision", "bfloat16")
# What is typed beside the job, by data set and name.
DISDEL = {
    "mnist": {
        "disdel": (),
        "disdel, torch": ("--runtime", "torch"),
        "disdel, mixed": MIXED,
        "disdel, 1 worker": ("--workers", "1"),
        "disdel, 4 workers": ("--workers", "4"),
    },
    "cifar10": {"disdel": (), "disdel, mixed": MIXED},
}


def contenders(options):
    """All that can run here, in the order in which they take turns."""
    work = options.work
    npz = {"mnist": options.mnist.resolve(), "cifar10": work / "cifar10.npz"}
    datasets = ["mnist", *(["cifar10"] if options.cifar10 else [])]
    job = ("--batch", str(BATCH), "--epochs", str(options.epochs))
    found = []
    for dataset in datasets:
        found.append(script("model.fit", dataset, sys.executable, PLAIN_FIT, npz[dataset], job))
        found += [disdel(name, more, dataset, work, job) for name, more in DISDEL[dataset].items()]
    flower = work / "flower" / "bin" / "python"
    torch = work / "torch" / "bin" / "python"
    quiet = {
        "FLWR_HOME": str(work / "flower-home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(HERE),
    }
    found.append(
        script("Flower", "mnist", flower, HERE / "flower_job.py", npz["mnist"], job, quiet)
    )
    found.append(script("DDP", "mnist", torch, HERE / "ddp_job.py", npz["mnist"], job))
    return [one for one in found if not options.only or any(o in one.label for o in options.only)]


def script(name, dataset, python, file, npz, job, environ=None):
    return Contender(
        name=name,
        dataset=dataset,
        command=lambda seed: [str(python), str(file), str(npz), *job, "--seed", str(seed)],
        environ=lambda _seed: environ or {},
    )


def disdel(name, more, dataset, work, job):
    """The command as a user types it, with nothing learned from earlier runs."""
    state = f"state-{name.replace(' ', '-')}-{dataset}-{os.getpid()}"
    return Contender(
        name=name,
        dataset=dataset,
        command=lambda seed: [
            *(sys.executable, "-m", "disdel", "train", dataset, *job, "--seed", str(seed)),
            *(*more, "--quiet", "--json", "-"),
        ],
        environ=lambda seed: {
            "DISDEL_DATA_DIR": str(work / "data"),
            "DISDEL_RUN_DIR": str(work / "runs"),
            "DISDEL_STATE_DIR": str(work / f"{state}-{seed}"),
        },
        is_disdel=True,
    )


def prepare(options, chosen):
    """Data sets where both sides find them, and the environments of those peers that run."""
    work = options.work
    environ = os.environ | {
        "DISDEL_DATA_DIR": str(work / "data"),
        "DISDEL_STATE_DIR": str(work / "state"),
    }
    for dataset in sorted({one.dataset for one in chosen}):
        if not (work / "data" / dataset).is_dir():
            source = str(getattr(options, dataset).resolve())
            importing = [sys.executable, "-m", "disdel", "dataset", "import", dataset, source]
            subprocess.run(importing, env=environ, check=True)
    if any(one.dataset == "cifar10" for one in chosen) and not (work / "cifar10.npz").exists():
        pack_cifar10(work)
    names = {one.name for one in chosen}
    if "Flower" in names:
        make_environment(work / "flower", FLOWER_PACKAGES)
    if "DDP" in names:
        make_environment(work / "torch", TORCH_PACKAGES)


def pack_cifar10(work):
    """The imported images as the arrays that `plain_fit.py` reads: the same pixels for both."""
    from disdel.data import load_arrays

    arrays = load_arrays("cifar10", work / "data")
    scratch = work / "cifar10-part.npz"
    np.savez(
        scratch,
        x_train=arrays.train_x,
        y_train=arrays.train_y,
        x_test=arrays.test_x,
        y_test=arrays.test_y,
    )
    scratch.rename(work / "cifar10.npz")


def make_environment(folder, packages):
    """A virtual environment with these packages, unless it is there already."""
    if (folder / "ready").exists():
        return
    print(f"making {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    versions = {package: version(package) for package in PACKAGES}
    wanted = [package.format(**versions) for package in packages]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *wanted], check=True)
    (folder / "ready").write_text("\n".join(wanted) + "\n")


def measure(one, repeat, options):
    """One run as a row of the results."""
    done = run_watched(one.command(repeat), os.environ | one.environ(repeat), cwd=options.work)
    if done.returncode != 0:
        sys.exit(f"{one.label} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    # Peers print other things before; the result is the last object.
    printed = done.stdout if one.is_disdel else done.stdout.strip().splitlines()[-1]
    result = json.loads(printed)
    row = {
        "name": one.name,
        "dataset": one.dataset,
        "repeat": repeat,
        "wall_s": round(done.wall_s, 3),
        "accuracy": result["accuracy"],
        "peak_pss_mb": round(done.peak_pss_mb, 1),
        "watching_cpu_s": round(done.watching_cpu_s, 3),
    }
    return row | (facts_of(result) if one.is_disdel else {})


def facts_of(fields):
    """What disdel's own report says of its time."""
    report = report_from_json(fields)
    split = split_time(report.activations, report.wall_s)
    rounds_s = split.training_s + split.rest_s
    moving_s = split.weights_s + split.averaging_s + split.invoking_s
    return {
        "runtime": report.plan.runtime,
        "workers": report.plan.workers,
        "limit_mb": report.plan.memory_mb,
        "failed": report.totals.failed,
        "start_s": split.start_s,
        "rounds_s": rounds_s,
        "training_s": split.training_s,
        "overhead_s": moving_s,
        "overhead_share": moving_s / rounds_s,
        "scoring_share": split.scoring_s / rounds_s,
        "preparing_share": split.preparing_s / rounds_s,
    }


def conditions(options):
    """The job, and where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {
        "batch": BATCH,
        "epochs": options.epochs,
        "cpus": os.cpu_count(),
        "processor": model,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "peers": [*FLOWER_PACKAGES[:1], *TORCH_PACKAGES[:1]],
    }


def load(options):
    """The results so far; they are of the same job on the same machine, or refused."""
    path, here = options.results, conditions(options)
    if not path.exists():
        return {"conditions": here, "runs": []}
    results = json.loads(path.read_text())
    if results["conditions"] != here:
        sys.exit(f"{path} is of another job, machine or version; name another file with --results")
    return results


def save(path, results):
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(results, indent=1) + "\n")
    scratch.replace(path)
    path.with_suffix(".md").write_text(tables(results))


def tables(results):
    """`results.md`."""
    runs, job = results["runs"], results["conditions"]
    text = "# Results\n\nMedians over the repeats; ranges in brackets. Made from results.json.\n"
    for dataset in dict.fromkeys(run["dataset"] for run in runs):
        members = [run for run in runs if run["dataset"] == dataset]
        text += f"\n## {dataset}, batch {job['batch']}, {job['epochs']} epochs\n\n"
        text += wall_table(members)
    own = [run for run in runs if "overhead_share" in run]
    return text + "\n## Goals\n\n" + goal_table(runs) + "\n## Inside disdel\n\n" + own_table(own)


def values(runs, name, column):
    return [run[column] for run in runs if run["name"] == name]


def spread(numbers, form):
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def wall_table(runs):
    lines = [
        "| command | repeats | wall, s | accuracy | summed PSS at most, MB | watching, CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(run["name"] for run in runs):
        walls = values(runs, name, "wall_s")
        watching = statistics.median(values(runs, name, "watching_cpu_s"))
        lines.append(
            f"| {name} | {len(walls)} | {spread(walls, '.1f')} "
            f"| {spread(values(runs, name, 'accuracy'), '.4f')} "
            f"| {spread(values(runs, name, 'peak_pss_mb'), '.0f')} | {watching:.1f} |"
        )
    return "\n".join(lines) + "\n"


COLUMN_WORDS = {"wall_s": "wall time", "peak_pss_mb": "summed PSS"}


def goal_table(runs):
    """Ratios of medians beside what they should be at most."""
    lines = ["| data set | ratio | measured | goal | |", "| --- | --- | --- | --- | --- |"]
    for goal in GOALS:
        members = [run for run in runs if run["dataset"] == goal.dataset]
        mine = values(members, goal.mine, goal.column)
        peer = values(members, goal.peer, goal.column)
        if mine and peer:
            ratio = statistics.median(mine) / statistics.median(peer)
            lines.append(
                f"| {goal.dataset} | {COLUMN_WORDS[goal.column]} of {goal.mine} / {goal.peer} "
                f"| {ratio:.2f} | {goal.limit:.2f} | {verdict(ratio <= goal.limit)} |"
            )
    for dataset in ("mnist", "cifar10"):
        shares = [
            run["overhead_share"]
            for run in runs
            if run["dataset"] == dataset and run["name"] == "disdel"
        ]
        if shares:
            share = statistics.median(shares)
            lines.append(
                f"| {dataset} | share of the rounds that moves and averages weights | {share:.3f} "
                f"| {OVERHEAD_GOAL:.2f} | {verdict(share <= OVERHEAD_GOAL)} |"
            )
    return "\n".join(lines) + "\n"


def verdict(met):
    return "met" if met else "missed"


def own_table(runs):
    lines = [
        "| command | workers × MB | start, s | rounds, s | training | weights, averaging, requests "
        "| scoring | preparing | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset, name in dict.fromkeys((run["dataset"], run["name"]) for run in runs):
        mine = [run for run in runs if (run["dataset"], run["name"]) == (dataset, name)]

        def middle(column, mine=mine):
            return statistics.median(run[column] for run in mine)

        training = statistics.median(run["training_s"] / run["rounds_s"] for run in mine)
        lines.append(
            f"| {dataset} {name} | {mine[0]['workers']} × {mine[0]['limit_mb']} "
            f"| {middle('start_s'):.1f} | {middle('rounds_s'):.1f} | {100 * training:.1f} % "
            f"| {100 * middle('overhead_share'):.1f} % | {100 * middle('scoring_share'):.1f} % "
            f"| {100 * middle('preparing_share'):.1f} % | {sum(run['failed'] for run in mine)} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="a folder for data and environments")
    parser.add_argument("--mnist", type=Path, help="mnist.npz")
    parser.add_argument("--cifar10", type=Path, help="the images as a zip; without it no CIFAR-10")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="contenders whose name has one of these in it")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--table", action="store_true", help="rebuild results.md and do no more")
    options = parser.parse_args()
    # An end from outside is an interrupt: what a run has started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.table:
        results = json.loads(options.results.read_text())
        options.results.with_suffix(".md").write_text(tables(results))
        return
    if not (options.work and options.mnist):
        parser.error("--work and --mnist are needed")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    results = load(options)
    chosen = contenders(options)
    prepare(options, chosen)
    done = {(run["dataset"], run["name"], run["repeat"]) for run in results["runs"]}
    for repeat in range(options.repeats):
        for one in chosen:
            if (one.dataset, one.name, repeat) not in done:
                results["runs"].append(measure(one, repeat, options))
                save(options.results, results)
                print(results["runs"][-1], flush=True)
    print(options.results.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
