"""FedKeeper's experiment: rounds to 99 % and 97 %, accuracy and time by round, on real MNIST.

    python experiments/fedkeeper/run.py --work DIR --mnist mnist.npz [--quick]
        [--cells cnn2-5-adam-10 mlp-*] [--seeds 0 1] [--rounds N] [--minutes M]

A cell is NETWORK-EPOCHS-OPTIMIZER-CLIENTS. 60,000 samples are sorted by label into 200 shards of
300, two for each of 100 clients, of whom so many train in a round, in batches of 10. A cell ends at
its target (looked at every ten rounds), after `--rounds` rounds, or when `--minutes` are over. What
there is of it is then written to runs/, and a later call goes on with it (`disdel federate
--resume`) as long as DIR is there. `--table` makes results.md and accuracy.png again and runs
nothing.
"""

import argparse
import fnmatch
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import paper

HERE = Path(__file__).resolve().parent
ROSTER, BATCH = 100, 10
MOST_ROUNDS = 500
# Between two looks at whether the target is reached.
PIECE_ROUNDS = 10
# Minutes on two cores: what a slice can show of both networks and all optimizers.
QUICK_CELLS = ("mlp-5-adam-10", "mlp-5-nadam-10", "mlp-5-sgd-10", "cnn2-5-adam-10")
QUICK_ROUNDS = 5


@dataclass(frozen=True)
class Cell:
    """One cell of the paper's tables."""

    network: str
    epochs: int
    optimizer: str
    clients: int

    @property
    def name(self):
        return f"{self.network}-{self.epochs}-{self.optimizer}-{self.clients}"


CELLS = [Cell(*key, clients) for key in paper.ROUNDS for clients in paper.CLIENTS]


def go_on(cell, seed, options):
    """Run a cell to its target, or as far as rounds and minutes go; its file is then up to date."""
    path = options.runs / f"{cell.name}-seed{seed}.json"
    record = json.loads(path.read_text()) if path.exists() else None
    while not options.over():
        reached = len(record["rounds"]) if record else 0
        if reached >= options.rounds or (record and record["rounds_to_target"]):
            return
        report = federate(command(cell, seed, record, reached, options), options)
        if len(report["rounds"]) == 0 or report["rounds"][-1]["round"] <= reached:
            return
        record = as_record(cell, seed, report, record)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps(record, indent=1) + "\n")
        scratch.replace(path)
        last = record["rounds"][-1]
        print(
            f"{cell.name}, seed {seed}: round {last['round']}, {last['accuracy']:.4f}", flush=True
        )


def command(cell, seed, record, reached, options):
    """The next rounds of a cell.

    No `--target-accuracy`: with it, rounds are scored on a part held out of the training samples,
    and clients have fewer. The paper scores on the test split.
    """
    rounds = str(min(options.rounds, reached + PIECE_ROUNDS))
    where = ("--rounds", rounds, "--quiet", "--json", "-")
    if record:
        return ("--resume", record["run"], *where)
    return (
        *("mnist", "--clients", str(ROSTER), "--partition", "shards:2"),
        *("--clients-per-round", str(cell.clients), "--local-epochs", str(cell.epochs)),
        *("--batch", str(BATCH), "--model", cell.network, "--optimizer", cell.optimizer),
        *("--runtime", options.runtime, "--seed", str(seed), *where),
    )


def federate(arguments, options):
    """The report of a federated run, which is stopped when the minutes are over.

    Raises:
        SystemExit: it failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "disdel", "federate", *arguments],
        env=environ_of(options),
        cwd=options.work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        left_s = None if options.ends_s is None else max(1.0, options.ends_s - time.monotonic())
        stdout, stderr = process.communicate(timeout=left_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        # It hands over what it has, as after Ctrl-C, which the background of a script ignores.
        process.terminate()
        stdout, stderr = process.communicate()
    if process.returncode not in (0, 130):
        raise SystemExit(f"disdel ended with {process.returncode}:\n{stderr[-4000:]}")
    if not stdout.strip():
        raise SystemExit(f"disdel was stopped before its first round:\n{stderr[-4000:]}")
    return json.loads(stdout)


def as_record(cell, seed, report, before):
    """What is kept of a cell: each round's accuracy, loss and seconds, by part."""
    earlier = [] if before is None else before["rounds"]
    rounds = {one["round"]: one for one in earlier}
    for one in report["rounds"]:
        rounds[one["round"]] = {
            "round": one["round"],
            "wall_s": one["wall_s"],
            "accuracy": one["accuracy"],
            "loss": one["loss"],
            **parts_of(one, report),
        }
    rounds = [rounds[number] for number in sorted(rounds)]
    target = paper.TARGETS[cell.network]
    return {
        "cell": cell.name,
        "seed": seed,
        "run": report["run"],
        "runtime": report["plan"]["runtime"],
        "containers": report["plan"]["workers"],
        "memory_mb": report["plan"]["memory_mb"],
        "machine": machine(),
        "rounds_to_target": first_at(rounds, target),
        "rounds": rounds,
    }


def parts_of(one, report):
    """Seconds of a round by part, as in Figure 5: containers' starts, steps, and the average."""
    own = [a for a in report["activations"] if a["round"] == one["round"]]
    train = [a for a in own if a["task"] == "train"]
    if not train:
        # Of an earlier run that this one went on with.
        return {}
    slowest = max(train, key=lambda a: a["duration_ms"])
    collect = [a["duration_ms"] for a in own if a["task"] == "collect"]
    return {
        "start_s": max(a["wait_ms"] for a in train) / 1000,
        "clients_s": slowest["duration_ms"] / 1000,
        "steps_s": slowest["train_s"],
        "collect_s": max(collect, default=0) / 1000,
        "cold": sum(a["start"] == "cold" for a in own),
    }


def first_at(rounds, accuracy):
    """The first round whose model has this accuracy on the test split."""
    return next((one["round"] for one in rounds if (one["accuracy"] or 0) >= accuracy), None)


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


def records_of(folder):
    """All that was run, by cell."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        found.setdefault(record["cell"], []).append(record)
    return found


def tables(found):
    """`results.md`."""
    text = "# Results\n\nMade from the files in runs/; cells without one were not run.\n"
    for network, target in paper.TARGETS.items():
        text += (
            f"\n## {network}, to {100 * target:.0f} %\n\n| epochs, optimizer, clients a round | "
            "rounds run | to target, by seed | paper | best accuracy | round, s (median, range) | "
            "of it steps, s | average, s | first round, s |\n" + "| --- " * 9 + "|\n"
        )
        for cell in CELLS:
            if cell.network == network and cell.name in found:
                text += row(cell, found[cell.name])
    text += "\n## To 95 %, adam, 100 clients\n\n| network, epochs | round | paper |\n"
    text += "| --- | --- | --- |\n"
    for (network, epochs), wanted in paper.ROUNDS_TO_95.items():
        records = found.get(Cell(network, epochs, "adam", 100).name, [])
        reached = [str(first_at(one["rounds"], 0.95) or "not yet") for one in records]
        text += f"| {network}, {epochs} | {', '.join(reached) or 'not run'} | {wanted} |\n"
    return text


def row(cell, records):
    # Each piece begins with containers that start.
    later = [one for record in records for one in record["rounds"] if one.get("cold") == 0]
    reached = ", ".join(
        str(record["rounds_to_target"] or f"over {len(record['rounds'])}") for record in records
    )
    best = max(one["accuracy"] for record in records for one in record["rounds"])
    told = paper.rounds(cell.network, cell.epochs, cell.optimizer, cell.clients)
    first = ", ".join(f"{record['rounds'][0]['wall_s']:.1f}" for record in records)
    columns = [
        f"{cell.epochs}, {cell.optimizer}, {cell.clients}",
        ", ".join(str(len(record["rounds"])) for record in records),
        reached,
        f"{told:g}",
        f"{best:.4f}",
        spread([one["wall_s"] for one in later]),
        spread([one["steps_s"] for one in later]),
        spread([one["collect_s"] for one in later]),
        first,
    ]
    return f"| {' | '.join(columns)} |\n"


def spread(values):
    if not values:
        return ""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def draw(found, path):
    """Accuracy by round of all that was run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for records in found.values():
        for record in records:
            at = [one["round"] for one in record["rounds"]]
            accuracy = [one["accuracy"] for one in record["rounds"]]
            axes.plot(at, accuracy, label=f"{record['cell']}, seed {record['seed']}")
    axes.set(xlabel="round", ylabel="accuracy on the test split")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cells", nargs="+", default=None, help="names, * for any")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where results go")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.runs.mkdir(exist_ok=True)
    if not options.table:
        run_cells(parser, options)
    found = records_of(options.runs)
    (options.runs.parent / "results.md").write_text(tables(found))
    draw(found, options.runs.parent / "accuracy.png")


def run_cells(parser, options):
    if options.work is None or options.mnist is None:
        parser.error("--work DIR and --mnist FILE are needed")
    wanted = options.cells or (QUICK_CELLS if options.quick else ("*",))
    chosen = [c for c in CELLS if any(fnmatch.fnmatch(c.name, pattern) for pattern in wanted)]
    if not chosen:
        parser.error(f"no cell is named {' '.join(wanted)}; {CELLS[0].name} is one")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else MOST_ROUNDS)
    options.ends_s = options.minutes and time.monotonic() + 60 * options.minutes
    options.over = lambda: options.ends_s is not None and time.monotonic() > options.ends_s
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "data" / "mnist").is_dir():
        importing = [sys.executable, "-m", "disdel", "dataset", "import", "mnist"]
        importing.append(str(options.mnist.resolve()))
        subprocess.run(importing, env=environ_of(options), check=True)
    for seed in options.seeds:
        for cell in chosen:
            go_on(cell, seed, options)


if __name__ == "__main__":
    main()
