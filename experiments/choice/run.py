"""Does `auto` choose right? Small jobs on each runtime with one worker and two, beside `auto`.

    python experiments/choice/run.py --mnist mnist.npz --cifar10 images.zip [--only WORD ...]

Each way to run a job has a state directory of its own: its first run is "cold", its second has the
"history" of the first. Results are written when they are there and not taken again; `results.md` is
made of all that are there.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SPEED = HERE.parent / "speed"
BUILT_IN = ("tensorflow", "torch", "compiled")
# The data set, the network, the batch, epochs and the runtimes that can run it.
JOBS = {
    "digits, mlp, batch 10": ("digits", "mlp", 10, 5, BUILT_IN),
    "digits, cnn, one epoch": ("digits", "cnn", 64, 1, BUILT_IN),
    "12,800 of MNIST, cnn": ("mnist12", "cnn", 64, 3, BUILT_IN),
    "3,000 of MNIST, cnn, batch 10": ("mnist3", "cnn", 10, 3, BUILT_IN),
    "6,400 of CIFAR-10, cnn2": ("cifar6", "cnn2", 64, 2, BUILT_IN),
    "table, mlp": ("table", "mlp", 64, 5, BUILT_IN),
    "1,600 of CIFAR-10, resnet20": ("cifar1", "resnet20", 64, 1, BUILT_IN),
    "words, LSTM in Keras": ("lstm", f"{SPEED}/keras_nets.py:lstm", 64, 3, ("tensorflow",)),
    "words, LSTM in PyTorch": ("lstm", f"{SPEED}/torch_nets.py:lstm", 64, 3, ("torch",)),
    "table, PyTorch, batch 10": ("table", f"{SPEED}/torch_nets.py:table", 10, 1, ("torch",)),
}


def samples_of(folder, mnist, cifar10):
    """The data sets' files, by name."""
    sys.path.insert(0, str(SPEED))
    import samples

    with np.load(mnist) as whole:
        for name, train in (("mnist12", 12_800), ("mnist3", 3_000)):
            counts = {"train": train, "test": 2_000}
            part = {f"{k}_{s}": whole[f"{k}_{s}"][:n] for s, n in counts.items() for k in "xy"}
            np.savez(folder / f"{name}.npz", **part)
    samples.resnet20(folder / "cifar6.npz", 6_400, cifar10)
    samples.resnet20(folder / "cifar1.npz", 1_600, cifar10)
    samples.table(folder / "table.npz", 40_000)
    samples.lstm(folder / "lstm.npz", 6_000)
    return [path.stem for path in sorted(folder.glob("*.npz"))]


def disdel(arguments, environ):
    """What a command writes to its standard output."""
    command = [sys.executable, "-m", "disdel", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def measured(job, runtime, workers, environ):
    """Seconds of a whole command, and what it has chosen and planned."""
    dataset, network, batch, epochs, _ = JOBS[job]
    asked = ["train", dataset, "--model", network, "--batch", str(batch), "--epochs", str(epochs)]
    asked += ["--runtime", runtime] if runtime != "auto" else []
    asked += ["--workers", str(workers)] if workers else []
    began = time.perf_counter()
    plan = json.loads(disdel([*asked, "--quiet", "--json", "-"], environ))["plan"]
    wall_s = time.perf_counter() - began
    return {
        "wall_s": round(wall_s, 2),
        "planned_s": plan["predicted_s"],
        "ran": f"{plan['runtime']}, {plan['workers']} × {plan['threads']}",
    }


def table(runs):
    """Markdown: what `auto` took beside the best of what was asked for."""
    lines = [
        "| job | | `auto` chose | s | best | s | `auto`'s choice, asked for | of the best |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for job, history in dict.fromkeys((run["job"], run["history"]) for run in runs):
        own = [run for run in runs if (run["job"], run["history"]) == (job, history)]
        chosen = next((run for run in own if run["asked"] == "auto"), None)
        others = [run for run in own if run["asked"] != "auto"]
        if chosen is None or not others:
            continue
        best = min(others, key=lambda run: run["wall_s"])
        same_s = next((run["wall_s"] for run in others if run["ran"] == chosen["ran"]), None)
        cells = [job, history, chosen["ran"], f"{chosen['wall_s']:.1f}", best["ran"]]
        cells += [f"{best['wall_s']:.1f}", "" if same_s is None else f"{same_s:.1f}"]
        cells.append("" if same_s is None else f"{same_s / best['wall_s']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, help="mnist.npz")
    parser.add_argument("--cifar10", type=Path, help="a zip of SPLIT/CLASS/NNNN.jpg")
    parser.add_argument("--only", nargs="+", default=[], help="words of the jobs' names")
    parser.add_argument("--table", action="store_true", help="only make the table again")
    options = parser.parse_args()
    path = HERE / "results.json"
    results = {"cpus": os.cpu_count(), "python": platform.python_version(), "runs": []}
    if path.exists():
        results = json.loads(path.read_text())
    runs = results["runs"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = os.environ | {"DISDEL_DATA_DIR": f"{name}/data", "DISDEL_RUN_DIR": f"{name}/runs"}
        # As for a user, whose Python keeps the bytecode of what it imports.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if not options.table:
            for dataset in samples_of(folder, options.mnist, options.cifar10):
                asked = ["dataset", "import", dataset, f"{name}/{dataset}.npz", "--no-compile"]
                disdel(asked, environ)
        known = {(run["job"], run["asked"], run["history"]) for run in runs}
        for job in () if options.table else JOBS:
            if options.only and not any(word in job for word in options.only):
                continue
            ways = [("auto", None), *((r, w) for r in JOBS[job][-1] for w in (1, 2))]
            for number, (runtime, workers) in enumerate(ways):
                asked = f"{runtime} {workers or ''}".strip()
                if (job, asked, "history") in known:
                    continue
                state = {"DISDEL_STATE_DIR": f"{name}/states/{job}-{number}"}
                for history in ("cold", "history"):
                    run = measured(job, runtime, workers, environ | state)
                    print(job, asked, history, run, flush=True)
                    runs.append({"job": job, "asked": asked, "history": history, **run})
                path.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results.md").write_text(table(runs))


if __name__ == "__main__":
    main()
