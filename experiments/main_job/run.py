"""The main job beside plain `model.fit`, whole commands, measured in turn on one machine.

    python experiments/main_job/run.py path/to/mnist.npz [--repeats 3] [--workers auto 1 3 4]

Each repeat runs `plain_fit.py` and then `disdel train mnist` once for every worker count, so that a
machine that slows down slows all of them. Only ratios within one run of this script mean anything.
Writes `results.json` (every measurement) and `results.md` (the table) beside this file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("tensorflow-cpu", "keras", "numpy", "redis")


def timed(command, environ):
    """Seconds of the whole command, and its standard output as JSON."""
    began_s = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began_s
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return wall_s, json.loads(done.stdout)


def measure(options, environ):
    """Every run in order: name, repeat, seconds, accuracy and, for disdel, its totals."""
    runs = []
    for repeat in range(options.repeats):
        plain = [
            sys.executable,
            str(HERE / "plain_fit.py"),
            str(options.npz),
            "--seed",
            str(repeat),
        ]
        wall_s, result = timed(plain, environ)
        runs.append({"name": "model.fit", "repeat": repeat, "wall_s": wall_s, **result})
        print(runs[-1], flush=True)
        for workers in options.workers:
            train = [
                *(sys.executable, "-m", "disdel", "train", "mnist"),
                *("--batch", "64", "--epochs", "5", "--workers", workers, "--seed", str(repeat)),
                *("--memory-max", "768", "--quiet", "--json", "-"),
            ]
            wall_s, report = timed(train, environ)
            runs.append(
                {
                    "name": f"disdel, workers {workers}",
                    "repeat": repeat,
                    "wall_s": wall_s,
                    "accuracy": report["accuracy"],
                    "workers": report["plan"]["workers"],
                    "memory_mb": report["plan"]["memory_mb"],
                    "peak_mb": max(a["peak_mb"] for a in report["activations"]),
                    "failed": report["totals"]["failed"],
                }
            )
            print(runs[-1], flush=True)
    return runs


def table(runs):
    """Medians by name, and each as a share of plain fit's."""
    lines = [
        "| run | wall s, median (range) | of `model.fit` | accuracy, median (least) "
        "| limit MB | peak MB | failed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = list(dict.fromkeys(run["name"] for run in runs))
    baseline = statistics.median(run["wall_s"] for run in runs if run["name"] == names[0])
    for name in names:
        mine = [run for run in runs if run["name"] == name]
        walls = [run["wall_s"] for run in mine]
        accuracies = [run["accuracy"] for run in mine]
        middle = statistics.median(walls)
        lines.append(
            f"| {name} | {middle:.1f} ({min(walls):.1f} to {max(walls):.1f}) "
            f"| {middle / baseline:.2f} "
            f"| {statistics.median(accuracies):.4f} ({min(accuracies):.4f}) "
            f"| {mine[0].get('memory_mb', '')} | {max(r.get('peak_mb', 0) for r in mine) or ''} "
            f"| {sum(run.get('failed', 0) for run in mine)} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", nargs="+", default=["auto", "1", "3", "4"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {
            "DISDEL_DATA_DIR": f"{folder}/data",
            "DISDEL_RUN_DIR": f"{folder}/runs",
            "DISDEL_STATE_DIR": f"{folder}/state",
        }
        importing = [sys.executable, "-m", "disdel", "dataset", "import", "mnist", str(options.npz)]
        subprocess.run(importing, env=environ, check=True)
        runs = measure(options, environ)
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    (HERE / "results.json").write_text(
        json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n"
    )
    (HERE / "results.md").write_text(table(runs))
    print(table(runs))


if __name__ == "__main__":
    main()
