"""What the shipped speeds of steps predict, beside what steps take here, on one thread.

    python experiments/step_speed/one_thread.py [--runtimes tensorflow torch] [--results FILE]

Each network is built as an action builds it, and trained on random samples in a process of its own
for each runtime: the least of several blocks of steps, by CPU time, in each precision that `auto`
may choose from. What was measured of the processor for plans is written beside. Writes one JSON
object and prints a table of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "profile"))
SHAPES = {
    **dict.fromkeys(("cnn", "mlp", "lenet5"), (28, 28, 1)),
    **dict.fromkeys(("cnn2", "resnet20"), (32, 32, 3)),
}
# The network, the batch, and the steps of a block.
RUNS = (
    *(("cnn", 64, 16), ("cnn", 10, 16), ("cnn2", 64, 8), ("cnn2", 10, 16)),
    *(("mlp", 64, 16), ("lenet5", 64, 16), ("resnet20", 32, 3)),
)
BLOCKS = 6


def measured(runtime_name):
    """A row for each network: CPU ms a step in each precision, and what is predicted in float32."""
    import numpy as np
    import steps

    from disdel.models import built_in
    from disdel.planner.precision import open_precisions
    from disdel.planner.timing import step_s
    from disdel.runtimes.registry import runtime_named
    from openwhisk_local.machine.allocator import keep_freed_memory

    keep_freed_memory()
    steps.NETWORKS = SHAPES
    runtime = runtime_named(runtime_name)
    os.environ |= dict(runtime.environment)
    runtime.import_framework()
    random = np.random.default_rng(0)
    rows = []
    for network, batch, count in RUNS:
        x = random.integers(0, 256, (count, batch, *SHAPES[network]), np.uint8)
        y = random.integers(0, 10, (count, batch)).astype(np.int32)
        trainer, _ = steps.trainer_of(runtime_name, network, batch, "adam", x)
        spec = built_in(network, input_shape=SHAPES[network], classes=10)
        row = {"runtime": runtime_name, "network": network, "batch": batch, "ms": {}}
        for precision in open_precisions(spec, batch, runtime.precisions, on_gpu=False):
            trainer.compute_in(precision)
            trainer.train(x, y)
            took = steps.least_ms(lambda t=trainer, x=x, y=y: t.train(x, y), BLOCKS)
            row["ms"][precision] = took["cpu_ms"] / count
        row["shipped_ms"] = 1000 * step_s(runtime.costs, spec.facts, batch, 1)
        rows.append(row)
    return rows


def table(results):
    """Markdown: what ships, divided by what was taken."""
    lines = [
        "| network, batch | runtime | ms, float32 | bfloat16 | ratio | predicted / taken |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["steps"]:
        single, half = row["ms"]["float32"], row["ms"].get("bfloat16")
        lines.append(
            f"| {row['network']}, {row['batch']} | {row['runtime']} | {single:.2f} "
            f"| {'-' if half is None else f'{half:.2f}'} "
            f"| {'-' if half is None else f'{half / single:.2f}'} "
            f"| {row['shipped_ms'] / single:.2f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtimes", nargs="+", default=["tensorflow", "torch"])
    parser.add_argument("--results", type=Path, default=HERE / "one_thread.json")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        with tempfile.TemporaryDirectory() as state:
            os.environ["DISDEL_STATE_DIR"] = state
            print(json.dumps(measured(options.alone)))
        return
    from disdel.controller.planning.history import processor_name
    from disdel.controller.planning.processor import slowness
    from disdel.settings import Settings

    with tempfile.TemporaryDirectory() as state:
        os.environ["DISDEL_STATE_DIR"] = state
        found = slowness(Settings(platform="embedded"))
    results = {"processor": processor_name(), "slowness": asdict(found), "steps": []}
    for runtime in options.runtimes:
        command = [sys.executable, __file__, "--alone", runtime]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results["steps"] += json.loads(said.splitlines()[-1])
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["slowness"]), table(results), sep="\n\n")


if __name__ == "__main__":
    main()
