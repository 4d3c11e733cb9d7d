"""Cold starts of train actions, phase by phase, through the embedded platform.

    python experiments/cold_start/run.py [--repeats 15] [--runtimes torch compiled] [--add]

Each repeat is one `disdel train digits --workers 1` a runtime, in turn, so that a machine that
slows down slows all of them; every run has a platform of its own and so a cold container. A run
before the first repeat compiles the network. Writes `results.json` (every cold start) and
`results.md` (the table) beside this file after every repeat; `--add` keeps the starts that are in
`results.json`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
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


def cold_start(runtime, environ):
    """Milliseconds of each phase of one train container, from the platform's request on."""
    command = f"train digits --epochs 1 --workers 1 --runtime {runtime} --quiet --json -"
    done = subprocess.run(
        [sys.executable, "-m", "disdel", *command.split()],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"disdel {command} ended with {done.returncode}:\n{done.stderr}")
    activations = json.loads(done.stdout)["activations"]
    [cold] = [a for a in activations if a["task"] == "train" and a["start"] == "cold"]
    ends = [cold["phases"][f"{phase}_ms"] for phase in PHASES]
    spent = [end - before for before, end in zip([0, *ends], ends, strict=False)]
    phases = {"container": cold["wait_ms"], "init": cold["init_ms"]}
    phases |= dict(zip(PHASES, spent, strict=True))
    return {"runtime": runtime, **phases, "total": sum(phases.values())}


def table(results):
    """Median and 90th percentile of every phase, in ms."""
    lines = [
        "Milliseconds, median (90th percentile).",
        "",
        "| runtime | starts | " + " | ".join(COLUMNS.values()) + " |",
        "| --- |" + " --- |" * (len(COLUMNS) + 1),
    ]
    for runtime in dict.fromkeys(start["runtime"] for start in results["starts"]):
        own = [start for start in results["starts"] if start["runtime"] == runtime]
        cells = [runtime, str(len(own))]
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
    options = parser.parse_args()
    results = HERE / "results.json"
    starts = json.loads(results.read_text())["starts"] if options.add else []
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    machine |= {name: version(name) for name in PACKAGES}
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "DISDEL_STATE_DIR": folder, "DISDEL_RUN_DIR": folder}
        if "compiled" in options.runtimes:
            cold_start("compiled", environ)
        for _ in range(options.repeats):
            starts += [cold_start(runtime, environ) for runtime in options.runtimes]
            found = {"machine": machine, "starts": starts}
            results.write_text(json.dumps(found, indent=1) + "\n")
            if len(starts) >= 2 * len(options.runtimes):
                (HERE / "results.md").write_text(table(found))


if __name__ == "__main__":
    main()
