"""Compiled networks beside TensorFlow's and beside plain `model.fit`: accuracy, time and memory.

    python experiments/compiled/run.py path/to/folder/of/data [--repeats 3] [--only mnist]

Each repeat has a seed of its own, and for every data set runs `model.fit` and then `disdel train`
on TensorFlow, compiled, and on what `--runtime auto` takes, whole commands in turn. "new" finds
nothing compiled and compiles; "imported" is the first run on a data set whose import has compiled
its network, which `ahead_s` tells the time of; "kept" comes after a run. Writes `results.json`
(every run) and `results.md` (the table) beside this file after every run; runs of data sets that
`--only` leaves out stay there.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from disdel.data import import_dataset, load_arrays

HERE = Path(__file__).parent
PLAIN_FIT = HERE.parent / "main_job" / "plain_fit.py"
PACKAGES = ("tensorflow-cpu", "keras", "jax", "iree-base-compiler", "numpy", "redis")
SOURCES = {
    "mnist": "mnist.npz",
    "alphadigits": "binary_alpha_digits.npz",
    "cifar10": "cifar10-images.zip",
}
JOB = ("--batch", "64", "--epochs", "5")
# OpenWhisk's own limits: 128 to 512 MB, 60 s.
STOCK = ("--runtime", "compiled", "--limits", "stock", "--timeout-max", "60")
WAYS = {
    "TensorFlow": ("--runtime", "tensorflow"),
    "compiled, new": STOCK,
    "compiled, imported": STOCK,
    "compiled, kept": STOCK,
    "auto, imported": ("--runtime", "auto"),
}


def timed(command, environ):
    """Seconds of the whole command, and the JSON that it prints."""
    began_s = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began_s
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return wall_s, json.loads(done.stdout)


def prepare(dataset, files, work):
    """The data set where disdel finds it, and the same samples as `plain_fit.py` reads them."""
    import_dataset(dataset, files / SOURCES[dataset], work / "data")
    arrays = load_arrays(dataset, work / "data")
    np.savez(
        work / f"{dataset}.npz",
        x_train=arrays.train_x,
        y_train=arrays.train_y,
        x_test=arrays.test_x,
        y_test=arrays.test_y,
    )


def fitted(dataset, seed, work):
    command = [sys.executable, str(PLAIN_FIT), str(work / f"{dataset}.npz"), *JOB]
    wall_s, result = timed([*command, "--seed", str(seed)], dict(os.environ))
    return {"wall_s": wall_s, "accuracy": result["accuracy"]}


AHEAD = """
import sys
from disdel.api import compile_ahead
from disdel.settings import Settings
from disdel.types import TrainJob
print(int(compile_ahead(TrainJob(dataset=sys.argv[1]), Settings())))
"""


def compiled_ahead(dataset, environ):
    """Seconds that an import spends on compiling, a process of its own included."""
    wall_s, compiled = timed([sys.executable, "-c", AHEAD, dataset], environ)
    assert compiled
    return wall_s


def trained(dataset, way, seed, work):
    runtime, _, before = way.partition(", ")
    state = work / f"state-{runtime}"
    environ = os.environ | {
        "DISDEL_DATA_DIR": str(work / "data"),
        "DISDEL_RUN_DIR": str(work / "runs"),
        "DISDEL_STATE_DIR": str(state),
    }
    if before in ("new", "imported"):
        shutil.rmtree(state, ignore_errors=True)
    ahead_s = compiled_ahead(dataset, environ) if before == "imported" else None
    command = [sys.executable, "-m", "disdel", "train", dataset, *JOB, *WAYS[way]]
    wall_s, report = timed([*command, "--seed", str(seed), "--quiet", "--json", "-"], environ)
    training = [a for a in report["activations"] if a["task"] == "train"]
    return {
        "wall_s": wall_s,
        "ahead_s": ahead_s,
        "accuracy": report["accuracy"],
        "runtime": report["plan"]["runtime"],
        "workers": report["plan"]["workers"],
        "limit_mb": report["plan"]["memory_mb"],
        "peak_mb": max(a["peak_mb"] for a in training),
        "total_mb": report["totals"]["memory_mb"],
        "failed": report["totals"]["failed"],
    }


def spread(numbers, form):
    return f"{statistics.median(numbers):{form}} ({min(numbers):{form}} to {max(numbers):{form}})"


def table(runs):
    lines = [
        "| data set | run | wall, s | of `model.fit` | accuracy | workers × MB | peak MB "
        "| MB in all | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset, name in dict.fromkeys((run["dataset"], run["name"]) for run in runs):
        of_set = [run for run in runs if run["dataset"] == dataset]
        mine = [run for run in of_set if run["name"] == name]
        fit_s = statistics.median(run["wall_s"] for run in of_set if run["name"] == "model.fit")
        walls = [run["wall_s"] for run in mine]
        cells = [
            dataset,
            name,
            spread(walls, ".1f"),
            f"{statistics.median(walls) / fit_s:.2f}",
            spread([run["accuracy"] for run in mine], ".4f"),
        ]
        if "workers" in mine[0]:
            cells += [
                f"{mine[0]['workers']} × {mine[0]['limit_mb']}",
                str(max(run["peak_mb"] for run in mine)),
                str(max(run["total_mb"] for run in mine)),
                str(sum(run["failed"] for run in mine)),
            ]
        else:
            cells += [""] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return "Medians, and ranges over the seeds.\n\n" + "\n".join(lines) + "\n"


def save(runs):
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    written = json.dumps({"machine": machine, "runs": runs}, indent=1)
    (HERE / "results.json").write_text(f"{written}\n")
    (HERE / "results.md").write_text(table(runs))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, help="the folder of the data sets' files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SOURCES, default=list(SOURCES))
    options = parser.parse_args()
    results = HERE / "results.json"
    earlier = json.loads(results.read_text())["runs"] if results.exists() else []
    runs = [run for run in earlier if run["dataset"] not in options.only]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for dataset in options.only:
            prepare(dataset, options.files, work)
        for seed in range(options.repeats):
            for dataset in options.only:
                for name in ("model.fit", *WAYS):
                    if name == "model.fit":
                        result = fitted(dataset, seed, work)
                    else:
                        result = trained(dataset, name, seed, work)
                    runs.append({"dataset": dataset, "name": name, "seed": seed, **result})
                    save(runs)
                    print(runs[-1], flush=True)


if __name__ == "__main__":
    main()
