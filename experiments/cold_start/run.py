"""Cold starts of train actions, phase by phase, through the embedded platform.

    python experiments/cold_start/run.py [--repeats 15] [--runtimes torch compiled] [--add]

Each repeat is one `disdel train digits --workers 1` a runtime, in turn, so that a machine that
slows down slows all of them. All ask one platform that is up, on which each run's containers are
cold; a run of each runtime before the first repeat compiles the network, and has the platform
import what containers are forked off with. `--root` is another checkout, measured in turn with this
one. Writes `results.json` (every cold start) and `results.md` (the table) beside this file after
every repeat; starts of other runtimes that are in `results.json` stay, and with `--add` all.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("tensorflow-cpu", "torch", "iree-base-runtime", "numpy", "redis")
RUNTIMES = ("tensorflow", "torch", "compiled")
PHASES = ("imported", "data", "built", "loaded", "stepped")
COLUMNS = {
    "container": "made",
    "init": "Python, code unpacked and imported",
    "imported": "framework",
    "data": "shard",
    "built": "network",
    "loaded": "weights",
    "stepped": "first steps",
    "total": "in all",
}


def disdel(command, environ):
    """What a command of disdel writes to its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "disdel", *command.split()],
        env=environ,
        cwd=environ["PYTHONPATH"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"disdel {command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def cold_start(code, runtime, environ):
    """Milliseconds of each phase of one train container, from the platform's request on."""
    command = f"train digits --epochs 1 --workers 1 --runtime {runtime} --quiet --json -"
    activations = json.loads(disdel(command, environ))["activations"]
    [cold] = [a for a in activations if a["task"] == "train" and a["start"] == "cold"]
    ends = [cold["phases"][f"{phase}_ms"] for phase in PHASES]
    spent = [end - before for before, end in zip([0, *ends], ends, strict=False)]
    phases = {"container": cold["wait_ms"], "init": cold["init_ms"]}
    phases |= dict(zip(PHASES, spent, strict=True))
    total = sum(phases.values())
    return {"code": code, "runtime": runtime, **phases, "total": total}


@contextmanager
def platform_of(root):
    """A platform of the checkout `root`, as long as needed: the environment of its commands."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"DISDEL_STATE_DIR": folder, "DISDEL_RUN_DIR": folder}
        environ = {**os.environ, **own, "PYTHONPATH": str(root.resolve())}
        disdel("platform up", environ)
        try:
            yield environ
        finally:
            disdel("platform down", environ)


def table(results):
    """Median and 90th percentile of every phase, in ms."""
    lines = [
        "Milliseconds, median (90th percentile).",
        "",
        "| code | runtime | starts | " + " | ".join(COLUMNS.values()) + " |",
        "| --- |" + " --- |" * (len(COLUMNS) + 2),
    ]
    starts = [{"code": "", **start} for start in results["starts"]]
    for code, runtime in dict.fromkeys((start["code"], start["runtime"]) for start in starts):
        own = [s for s in starts if (s["code"], s["runtime"]) == (code, runtime)]
        cells = [code, runtime, str(len(own))]
        for column in COLUMNS:
            values = [start[column] for start in own]
            p90 = statistics.quantiles(values, n=10, method="inclusive")[-1]
            cells.append(f"{statistics.median(values):.0f} ({p90:.0f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--root", type=Path, help="another checkout, to measure in turn")
    options = parser.parse_args()
    results = HERE / "results.json"
    earlier = json.loads(results.read_text())["starts"] if results.exists() else []
    starts = [s for s in earlier if options.add or s["runtime"] not in options.runtimes]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    machine |= {name: version(name) for name in PACKAGES}
    roots = {"this": HERE.parents[1]} | ({"before": options.root} if options.root else {})
    with ExitStack() as stack:
        environs = {c: stack.enter_context(platform_of(root)) for c, root in roots.items()}
        for runtime in options.runtimes:
            for code, environ in environs.items():
                cold_start(code, runtime, environ)
        for number in range(options.repeats):
            for runtime in options.runtimes:
                starts += [cold_start(code, runtime, environ) for code, environ in environs.items()]
            found = {"machine": machine, "starts": starts}
            results.write_text(json.dumps(found, indent=1) + "\n")
            if number > 0:
                (HERE / "results.md").write_text(table(found))


if __name__ == "__main__":
    main()
