"""What bfloat16 does to accuracy: whole trainings in both precisions, seed by seed.

    .venv/bin/python experiments/precision/accuracy.py --mnist mnist.npz \
        --cifar10 cifar10-images.zip

Every training is a command of its own with two workers, and is written to `accuracy.json` when it
has ended; those that are there are not run again. `accuracy.md` is the table of what is there.
`--before CMD` is put before every command, to wait for a machine, say.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "accuracy.json"
PRECISIONS = ("float32", "bfloat16")
JOBS = {
    "MNIST": ("mnist", "cnn", 5),
    "table": ("table", "mlp", 5),
    "CIFAR-10": ("cifar10", "resnet20", 6),
}
# The runtime of each in its seeds: `auto` takes PyTorch for deep networks.
RUNTIMES = {"MNIST": ("tensorflow", "torch"), "table": ("tensorflow",), "CIFAR-10": ("torch",)}


def table(path: Path, rows: int = 50_000, columns: int = 30, classes: int = 6) -> None:
    """A table to classify: numbers of unlike units, whose classes are told by sums and products."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, columns)).astype(np.float32)
    hidden = np.tanh(x @ random.normal(size=(columns, 12)) / 3)
    scores = np.concatenate([hidden, hidden**2], 1) @ random.normal(size=(24, classes))
    y = (scores + random.gumbel(size=scores.shape) * 0.2).argmax(1).astype(np.int64)
    x = x * random.lognormal(sigma=2, size=columns) + random.normal(scale=10, size=columns)
    cut = rows // 5
    np.savez(
        path,
        x_train=x[cut:].astype(np.float32),
        y_train=y[cut:],
        x_test=x[:cut].astype(np.float32),
        y_test=y[:cut],
    )


def environ_of(work: Path) -> dict[str, str]:
    return os.environ | {
        "DISDEL_DATA_DIR": str(work / "data"),
        "DISDEL_RUN_DIR": str(work / "runs"),
        "DISDEL_STATE_DIR": str(work / "state"),
    }


def disdel(*arguments: str, work: Path, before: list[str]) -> str:
    command = [*before, sys.executable, "-m", "disdel", *arguments]
    done = subprocess.run(
        command, env=environ_of(work), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def measure(options: argparse.Namespace, work: Path) -> None:
    before = shlex.split(options.before)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    there = {(r["job"], r["runtime"], r["precision"], r["seed"]) for r in results}
    table(work / "table.npz")
    sources = {"mnist": options.mnist, "cifar10": options.cifar10, "table": work / "table.npz"}
    for job in options.jobs:
        dataset, network, epochs = JOBS[job]
        if not (work / "data" / dataset).exists():
            importing = ("dataset", "import", dataset, str(sources[dataset]), "--no-compile")
            disdel(*importing, work=work, before=before)
        for seed in range(options.seeds):
            for runtime in RUNTIMES[job]:
                for precision in PRECISIONS:
                    if (job, runtime, precision, seed) in there:
                        continue
                    said = disdel(
                        *("train", dataset, "--model", network, "--epochs", str(epochs)),
                        *("--batch", "64", "--workers", "2", "--runtime", runtime),
                        *("--precision", precision, "--seed", str(seed), "--quiet"),
                        *("--json", "-"),
                        work=work,
                        before=before,
                    )
                    report = json.loads(said)
                    results.append(
                        {
                            "job": job,
                            "runtime": runtime,
                            "precision": precision,
                            "seed": seed,
                            "accuracy": report["accuracy"],
                            "loss": round(report["loss"], 5),
                            "rounds": [one["accuracy"] for one in report["rounds"]],
                        }
                    )
                    print(results[-1], flush=True)
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def shown() -> str:
    """Both precisions side by side, and the difference of their means in points."""
    results = json.loads(RESULTS.read_text())
    lines = [
        "| job, network, epochs | runtime | float32, by seed | bfloat16, by seed "
        "| difference of means |",
        "| --- | --- | --- | --- | --- |",
    ]
    for job, (_, network, epochs) in JOBS.items():
        for runtime in RUNTIMES[job]:
            own = [r for r in results if (r["job"], r["runtime"]) == (job, runtime)]
            by = {
                precision: [r["accuracy"] for r in own if r["precision"] == precision]
                for precision in PRECISIONS
            }
            if not all(by.values()):
                continue
            points = 100 * (statistics.mean(by["bfloat16"]) - statistics.mean(by["float32"]))
            cells = [", ".join(f"{a:.4f}" for a in by[precision]) for precision in PRECISIONS]
            lines.append(
                f"| {job}, {network}, {epochs} | {runtime} | {cells[0]} | {cells[1]} "
                f"| {points:+.2f} points |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", default="")
    parser.add_argument("--work", type=Path, help="a folder to keep imported data sets in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        measure(options, work)
    (HERE / "accuracy.md").write_text(shown())
    print(shown())


if __name__ == "__main__":
    main()
