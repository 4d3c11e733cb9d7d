"""FLoX's experiment: one model of many devices, against a central one and single ones.

    python experiments/flox/run.py --work DIR --mnist mnist.npz --cifar10 cifar10-images.zip
        [--quick] [--cells mnist-*] [--seeds 0 1 2] [--before CMD]

Each cell and seed is a command of its own, whose result is written to results.json when it has
ended; those that are there are not run again. `--quick` takes three rounds of the cells on MNIST
and writes nothing. `--table` makes results.md again and runs nothing.
"""

import argparse
import fnmatch
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
ROUNDS, QUICK_ROUNDS = 20, 3
# A Jetson, four Raspberry Pi 3, two Pi 4, three personal computers.
DEVICES = ((1, "Jetson"), (4, "Pi 3"), (2, "Pi 4"), (3, "PC"))


@dataclass(frozen=True)
class Cell:
    """One way to train, and what the paper reports of it: accuracy, samples, epochs a round.

    `samples` and `epochs` are of a client in a round, as the command takes them.
    """

    name: str
    data: str
    clients: int
    samples: str
    epochs: str
    paper: float | None
    table: str


def by_device(values):
    return ",".join(f"{value}*{count}" for value, (count, _) in zip(values, DEVICES, strict=True))


CELLS = (
    Cell("cifar10-global", "cifar10", 5, "400", "20", 0.58, "Table 4"),
    Cell("cifar10-central", "cifar10", 1, "2000", "20", 0.60, "Table 4"),
    Cell("cifar10-single", "cifar10", 1, "400", "20", 0.51, "7 points below the global model"),
    Cell("mnist-global", "mnist", 10, "200", "20", 0.86, "Table 4, Fashion-MNIST"),
    Cell("mnist-central", "mnist", 1, "2000", "20", 0.86, "Table 4, Fashion-MNIST"),
    Cell("mnist-single", "mnist", 1, "200", "20", 0.835, "2.5 points below, Fashion-MNIST"),
    Cell(
        *("mnist-samples-balanced", "mnist", 10, by_device((50, 100, 400, 2000)), "10"),
        *(0.90, "Table 4, Fashion-MNIST"),
    ),
    Cell(
        *("mnist-epochs-balanced", "mnist", 10, "200", by_device((5, 10, 15, 60))),
        *(0.83, "Table 4, Fashion-MNIST"),
    ),
)


def run(cell, seed, options):
    """What is kept of a cell: accuracies by round, of the model and of the clients' own."""
    network = "cifar" if cell.data == "cifar10" else "digits"
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    command = [
        *shlex.split(options.before),
        *(sys.executable, "-m", "disdel", "federate", cell.data),
        *("--clients", str(cell.clients), "--client-samples", cell.samples),
        *("--local-epochs", cell.epochs, "--batch", "32", "--rounds", str(rounds)),
        *("--model", f"{HERE / 'network.py'}:{network}", "--runtime", "torch"),
        *("--optimizer", "adam", "--seed", str(seed), "--before-average", "--quiet"),
        *("--json", "-"),
    ]
    done = subprocess.run(
        command, env=environ_of(options), cwd=options.work, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
    report = json.loads(done.stdout)
    own = [one["clients"]["own_accuracy"] for one in report["rounds"]]
    return {
        "cell": cell.name,
        "seed": seed,
        "accuracy": [one["accuracy"] for one in report["rounds"]],
        "own_accuracy": [None if one is None else one["mean"] for one in own],
        "wall_s": [one["wall_s"] for one in report["rounds"]],
        "samples": sum(line["samples"] for line in report["ledger"] if line["round"] == 1),
        "bytes_a_client": report["rounds"][-1]["clients"]["bytes"] / cell.clients,
        "gb_s": report["totals"]["gb_s"],
        "machine": machine(),
    }


def environ_of(options):
    return os.environ | {
        "DISDEL_DATA_DIR": str(options.work / "data"),
        "DISDEL_RUN_DIR": str(options.work / "runs"),
        "DISDEL_STATE_DIR": str(options.work / "state"),
    }


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {"cpus": os.cpu_count(), "processor": model, "python": platform.python_version()}


def table(records):
    """`results.md`."""
    text = (
        "# Results\n\nMade from results.json; accuracies after the last of "
        f"{ROUNDS} rounds, mean and range over the seeds.\n\n"
        "| cell | seeds | accuracy | clients' own models before that average | best round | "
        "paper | where | round, s | MB a client and round |\n" + "| --- " * 9 + "|\n"
    )
    for cell in CELLS:
        own = [one for one in records if one["cell"] == cell.name]
        if own:
            columns = [
                cell.name,
                str(len(own)),
                spread([one["accuracy"][-1] for one in own]),
                spread([one["own_accuracy"][-1] for one in own if one["own_accuracy"][-1]]),
                spread([max(one["accuracy"]) for one in own]),
                f"{cell.paper:.3g}",
                cell.table,
                f"{statistics.median(s for one in own for s in one['wall_s'][1:]):.1f}",
                f"{statistics.median(one['bytes_a_client'] for one in own) / 1e6:.2f}",
            ]
            text += f"| {' | '.join(columns)} |\n"
    return text


def spread(values):
    if not values:
        return ""
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cells", nargs="+", default=["*"], help="names, * for any")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--before", default="", help="a command that waits for a machine, say")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        run_cells(parser, options)
    if not options.quick:
        records = json.loads(RESULTS.read_text())
        (HERE / "results.md").write_text(table(records))


def run_cells(parser, options):
    if options.work is None:
        parser.error("--work DIR is needed")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.quick:
        options.cells = ["mnist-*"]
    chosen = [c for c in CELLS if any(fnmatch.fnmatch(c.name, one) for one in options.cells)]
    for name in sorted({cell.data for cell in chosen}):
        bring(name, getattr(options, name), parser, options)
    records = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.quick else []
    for seed in options.seeds:
        for cell in chosen:
            if any((one["cell"], one["seed"]) == (cell.name, seed) for one in records):
                continue
            records.append(run(cell, seed, options))
            accuracy = records[-1]["accuracy"][-1]
            print(f"{cell.name}, seed {seed}: {accuracy:.4f} (paper {cell.paper})", flush=True)
            if not options.quick:
                RESULTS.write_text(json.dumps(records, indent=1) + "\n")


def bring(name, path, parser, options):
    """Import a data set, unless it is there."""
    if (options.work / "data" / name).is_dir():
        return
    if path is None:
        parser.error(f"--{name} FILE is needed")
    importing = [sys.executable, "-m", "disdel", "dataset", "import", name, str(path.resolve())]
    subprocess.run(importing, env=environ_of(options), check=True)


if __name__ == "__main__":
    main()
