"""The main job and other networks against plain Keras and PyTorch: whole commands, in turn.

    python experiments/speed/run.py mnist.npz [--cifar10 images.zip] [--pairs 5] [--quick]

Each repeat runs every contender once, one after the other, so that a machine that slows down slows
all of them; a ratio is that of the medians of the repeats that both have, with the range of the
ratios within one repeat. Ours is run "cold", with an empty state directory each time, and with the
"history" of its cold run of the same repeat. `--only WORD ...` chooses contenders by parts of their
names, `--quick` trains little and shows only that everything runs. Results are written when they
are there and not taken again; `results.md` is made of all that are there, and `--table` only makes
it again.
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
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import samples

from disdel.types.report_json import report_from_json
from disdel.types.timeline import split_time

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parent
PACKAGES = ("tensorflow-cpu", "keras", "torch", "numpy", "redis")
RUNTIMES = ("auto", "tensorflow", "torch", "compiled")
# Of the training split, and epochs: whole and quick.
HELD_OUT = {"table": (60_000, 10, 6_000), "lstm": (20_000, 3, 1_000), "resnet20": (10_000, 3, 500)}
_SLOWEST = 0.8


@dataclass(frozen=True)
class Contender:
    """A whole command.

    Attributes:
        job: which job it does; only commands for the same one are compared.
        name: of the contender.
        command: without the interpreter.
        history: of disdel: "cold" or "history"; None for others.
        state: whose state directory it shares.
        beside: the contender that it is measured against.
    """

    job: str
    name: str
    command: list[str] = field(compare=False)
    history: str | None = None
    state: str = ""
    beside: str = "plain fit"

    @property
    def label(self):
        return " ".join(word for word in (self.job, self.name, self.history) if word)


def ours(job, name, beside, options):
    """A command of disdel's without and with a history."""
    command = ["-m", "disdel", "train", *options, "--quiet", "--json", "-"]
    return [
        Contender(job, name, command, history, f"{job}-{name}", beside)
        for history in ("cold", "history")
    ]


def main_job(npz, epochs):
    """The contenders of the main job."""
    plain = [str(EXPERIMENTS / "main_job" / "plain_fit.py"), str(npz), "--epochs", str(epochs)]
    ddp = [str(EXPERIMENTS / "peers" / "ddp_job.py"), str(npz), "--epochs", str(epochs)]
    found = [
        Contender("mnist", "plain fit", plain),
        Contender("mnist", "fit in blocks", [*plain, "--steps-per-execution", "32"]),
        Contender("mnist", "DDP", ddp),
    ]
    for runtime in RUNTIMES:
        asked = ["mnist", "--batch", "64", "--epochs", str(epochs)]
        asked += [] if runtime == "auto" else ["--runtime", runtime]
        found += ours("mnist", f"disdel {runtime}", "plain fit", asked)
    return found


def held_out(network, npz, epochs):
    """The contenders of another network: each framework's beside disdel with the same code."""
    found = []
    for framework, name in (("keras", "plain fit"), ("torch", "plain PyTorch")):
        plain = [str(HERE / "plain.py"), framework, network, str(npz), "--epochs", str(epochs)]
        found.append(Contender(network, name, plain))
        code = f"{HERE / f'{framework}_nets.py'}:{network}"
        asked = [network, "--model", code, "--batch", "64", "--epochs", str(epochs)]
        found += ours(network, f"disdel with {framework}", name, asked)
    return found


def measured(contender, repeat, environ):
    """A run of a contender: seconds of its whole command, and what it said."""
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *contender.command, "--seed", str(repeat)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.perf_counter() - began
    run = {"label": contender.label, "repeat": repeat, "wall_s": round(wall_s, 2)}
    if ended.returncode != 0:
        return run | {"failed": ended.stderr[-2000:]}
    if contender.history is None:
        return run | json.loads(ended.stdout.splitlines()[-1])
    told = json.loads(ended.stdout)
    report = report_from_json(told)
    split = split_time(report.activations, wall_s)
    precisions = [a.precision for a in report.activations if a.precision]
    return run | {
        "accuracy": report.accuracy,
        "runtime": report.plan.runtime,
        "workers": report.plan.workers,
        "precision": precisions[0] if precisions else None,
        "planned_s": report.plan.predicted_s,
        "memory_mb": report.totals.memory_mb,
        "peak_mb": max(a.peak_mb or 0 for a in report.activations),
        "start_s": round(split.start_s, 2),
        "training_s": round(split.training_s, 2),
        "rest_s": round(split.rest_s, 2),
    }


def table(runs):
    """Markdown: medians and ratios to what each contender is measured against."""
    of = {}
    for run in runs:
        if "failed" not in run:
            of.setdefault(run["label"], []).append(run)
    known = {
        c.label: c for c in (*main_job("", 0), *chain(*(held_out(n, "", 0) for n in HELD_OUT)))
    }
    # One that is measured no more keeps its row.
    known |= {label: Contender(*label.split(" ", 1), []) for label in of if label not in known}
    lines = [
        "| run | s, median (range) | beside | ratio (range) | accuracy | ran | planned / taken "
        "| start, training, between rounds, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    slow = []
    for contender in known.values():
        mine = of.get(contender.label)
        if not mine:
            continue
        walls = [run["wall_s"] for run in mine]
        cells = [
            contender.label,
            f"{statistics.median(walls):.1f} ({min(walls):.1f} to {max(walls):.1f})",
        ]
        base = {
            run["repeat"]: run["wall_s"]
            for run in of.get(f"{contender.job} {contender.beside}", [])
        }
        pairs = [(r["wall_s"], base[r["repeat"]]) for r in mine if r["repeat"] in base]
        middle = 0
        if pairs and contender.name != contender.beside:
            middle = statistics.median(own for own, _ in pairs)
            middle /= statistics.median(other for _, other in pairs)
            ratios = [own / other for own, other in pairs]
            told = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells += [contender.beside, told]
        else:
            cells += ["", ""]
        cells.append(f"{statistics.median(run['accuracy'] for run in mine):.4f}")
        last = mine[-1]
        if "planned_s" not in last:
            cells += ["", "", ""]
        else:
            cells.append(f"{last['runtime']}, {last['workers']} × {last['precision']}")
            told = [run["planned_s"] / run["wall_s"] for run in mine]
            cells.append(f"{statistics.median(told):.2f} ({min(told):.2f} to {max(told):.2f})")
            parts = (
                statistics.median(run[name] for run in mine)
                for name in ("start_s", "training_s", "rest_s")
            )
            cells.append(", ".join(f"{part:.1f}" for part in parts))
        lines.append("| " + " | ".join(cells) + " |")
        if "planned_s" in last and middle > 1 / _SLOWEST:
            slow.append(lines[-1])
    failed = [run for run in runs if "failed" in run]
    lines += ["", *(f"{run['label']}, repeat {run['repeat']}: failed" for run in failed)]
    return "\n".join(lines) + ("\n\nSlower than 0.8×:\n\n" + "\n".join(slow) if slow else "") + "\n"


def prepared(options, folder, environ):
    """The contenders, once their samples are imported."""
    epochs = 1 if options.quick else 5
    jobs = [("mnist", options.npz, main_job(options.npz, epochs))]
    for network, (train, network_epochs, few) in HELD_OUT.items():
        if network == "resnet20" and options.cifar10 is None:
            print("resnet20 is left out: --cifar10 names no images")
            continue
        npz = folder / f"{network}.npz"
        more = (options.cifar10,) if network == "resnet20" else ()
        getattr(samples, network)(npz, few if options.quick else train, *more)
        contenders = held_out(network, npz, 1 if options.quick else network_epochs)
        jobs.append((network, npz, contenders))
    wanted = []
    for name, npz, contenders in jobs:
        chosen = [
            c
            for c in contenders
            if not options.only or any(word in c.label for word in options.only)
        ]
        if chosen:
            command = [sys.executable, "-m", "disdel", "dataset", "import", name, str(npz)]
            subprocess.run(command, env=environ, check=True, capture_output=True)
        wanted += chosen
    return wanted


def machine():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "processor": name or platform.processor(),
        "able": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path, nargs="?", help="of MNIST")
    parser.add_argument("--cifar10", type=Path, help="a zip of SPLIT/CLASS/NNNN.jpg")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if options.npz is None and not options.table:
        parser.error("an mnist.npz is needed")
    results = {"machine": machine(), "runs": []}
    if options.results.exists():
        results = json.loads(options.results.read_text())
    known = {(run["label"], run["repeat"]) for run in results["runs"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = os.environ | {
            "DISDEL_DATA_DIR": f"{folder}/data",
            "DISDEL_RUN_DIR": f"{folder}/runs",
        }
        # As for a user, whose Python keeps the bytecode of what it imports.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        contenders = [] if options.table else prepared(options, folder, environ)
        for repeat in range(1 if options.quick else options.pairs):
            for contender in contenders:
                if (contender.label, repeat) in known:
                    continue
                state = folder / "states" / f"{contender.state}-{repeat}".replace(" ", "-")
                run = measured(contender, repeat, environ | {"DISDEL_STATE_DIR": str(state)})
                print(json.dumps(run), flush=True)
                results["runs"].append(run)
                options.results.write_text(json.dumps(results, indent=1) + "\n")
    told = table(results["runs"])
    options.results.with_suffix(".md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
