"""Where the time of the main job goes on each runtime, beside what the processor can do.

    python experiments/profile/run.py path/to/mnist.npz [--runtimes tensorflow torch compiled]

Measures the processor (`processor.py`), what a step consists of (`steps.py`), and whole commands of
`disdel train mnist --batch 64 --epochs 5`, each with an empty state directory ("cold") and once
more with what the first has left there ("again"). What is there of other runtimes stays. Writes
`results.json`, `results.md` and `profile.png` beside this file; `--draw` makes the last two of the
first again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from picture import draw, table
from stages import stages_of

HERE = Path(__file__).parent
PACKAGES = ("tensorflow-cpu", "keras", "torch", "numpy", "redis")


def said(command, environ):
    """What a command of Python's prints, as JSON."""
    ended = subprocess.run(
        [sys.executable, *command], env=environ, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1] if "-m" not in command else ended.stdout)


def whole_run(runtime, environ, options):
    """A whole command: its seconds, and where they went."""
    command = [
        *("-m", "disdel", "train", "mnist", "--batch", "64", "--epochs", str(options.epochs)),
        *("--runtime", runtime, "--quiet", "--json", "-"),
    ]
    began = time.perf_counter()
    report = said(command, environ)
    wall_s = time.perf_counter() - began
    return {
        "wall_s": wall_s,
        "planned_s": report["plan"]["predicted_s"],
        "workers": report["plan"]["workers"],
        "precision": next((a["precision"] for a in report["activations"] if a["precision"]), None),
        "accuracy": report["accuracy"],
        "stages": stages_of(report, wall_s),
    }


def processor_name():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    able = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{names[0] if names else platform.processor()} ({', '.join(able)})"


def measure(options):
    results = {
        "processor": processor_name(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "can": said([str(HERE / "processor.py")], os.environ),
        "steps": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {
            "DISDEL_DATA_DIR": f"{folder}/data",
            "DISDEL_RUN_DIR": f"{folder}/runs",
        }
        importing = [sys.executable, "-m", "disdel", "dataset", "import", "mnist", str(options.npz)]
        subprocess.run(importing, env=environ, check=True, capture_output=True)
        for runtime in options.runtimes:
            results["steps"].append(said([str(HERE / "steps.py"), runtime], os.environ))
            print(json.dumps(results["steps"][-1]), flush=True)
            environ["DISDEL_STATE_DIR"] = f"{folder}/state-{runtime}"
            for history in ("cold", "again"):
                run = {"runtime": runtime, "history": history}
                results["runs"].append(run | whole_run(runtime, environ, options))
                print(json.dumps(results["runs"][-1]), flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path, nargs="?")
    parser.add_argument("--runtimes", nargs="+", default=["tensorflow", "torch", "compiled"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="of the results that are there")
    options = parser.parse_args()
    path = HERE / "results.json"
    if not options.draw:
        if options.npz is None:
            parser.error("an mnist.npz is needed")
        earlier = json.loads(path.read_text()) if path.exists() else {"steps": [], "runs": []}
        results = measure(options)
        for name in ("steps", "runs"):
            others = [one for one in earlier[name] if one["runtime"] not in options.runtimes]
            results[name] = others + results[name]
        path.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(path.read_text())
    (HERE / "results.md").write_text(table(results))
    draw(results, HERE / "profile.png")


if __name__ == "__main__":
    main()
