"""What the planner assumes of training steps: how long each network's take on each runtime.

    python experiments/step_speed/run.py --results experiments/step_speed/results.json \
        [--runtimes tensorflow torch compiled] [--networks cnn cnn2] [--batches 16 64]

Each network is built as an action builds it and trained on random samples in blocks, with one
thread and with two, in a process of its own each time; the least block counts. A compiled network
is compiled first, into an empty state directory. Every figure is written when it is there and not
taken again.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from disdel.compiler import CompileJob, compile_program
from disdel.models import built_in
from disdel.types import ModelSpec

NETWORKS = {
    "mlp": (28, 28, 1),
    "lenet5": (28, 28, 1),
    "cnn": (28, 28, 1),
    "cnn-cifar10": (32, 32, 3),
    "cnn2": (32, 32, 3),
    "cnn2-mnist": (28, 28, 1),
    "resnet20": (32, 32, 3),
    "vgg11": (32, 32, 3),
}
STEPS = 8


def network_of(name: str) -> ModelSpec:
    return built_in(name.partition("-")[0], input_shape=NETWORKS[name], classes=10)


def measure(runtime: str, name: str, batch: int, threads: int, repeats: int, program: str) -> dict:
    """Seconds of the first step, and the least of a step in blocks of `STEPS`."""
    from disdel.protocol.messages import Network
    from disdel.runtimes.compiled.trainer import CompiledTrainer
    from disdel.worker.network import TrainerCache

    random = np.random.default_rng(0)
    shape = NETWORKS[name]
    x = random.integers(0, 256, (STEPS, batch, *shape), np.uint8)
    y = random.integers(0, 10, (STEPS, batch)).astype(np.int32)
    if runtime == "compiled":
        trainer = CompiledTrainer(Path(program), seed=0, threads=threads)
    else:
        network = Network(
            runtime=runtime,
            model=network_of(name),
            optimizer=None,
            learning_rate=None,
            seed=0,
            threads=threads,
        )
        trainer = TrainerCache().get(network, x)
    began = time.perf_counter()
    trainer.train(x, y)
    first_s = time.perf_counter() - began
    least_s = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        trainer.train(x, y)
        least_s = min(least_s, time.perf_counter() - began)
    return {"step_s": least_s / STEPS, "trace_s": first_s - least_s}


def compiled(name: str, batch: int) -> tuple[str, float]:
    """Where the compiled network is, and how long compiling it took."""
    began = time.perf_counter()
    folder = compile_program(
        CompileJob(
            model=network_of(name),
            input_dtype="uint8",
            batch_size=batch,
            optimizer="adam",
            targets=("host",),
        )
    )
    return str(folder), time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtimes", nargs="+", default=["tensorflow", "torch", "compiled"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[64])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    written = options.results and options.results.exists()
    results = json.loads(options.results.read_text()) if written else []
    known = {(r["network"], r["batch"], r["runtime"]) for r in results}
    with tempfile.TemporaryDirectory() as state:
        os.environ["DISDEL_STATE_DIR"] = state
        wanted = [
            (name, batch, runtime)
            for name in options.networks
            for batch in options.batches
            for runtime in options.runtimes
        ]
        for name, batch, runtime in wanted:
            if (name, batch, runtime) in known:
                continue
            result = {"network": name, "batch": batch, "runtime": runtime}
            program = ""
            if runtime == "compiled":
                program, result["compile_s"] = compiled(name, batch)
            for threads in (1, 2):
                asked = {"runtime": runtime, "name": name, "batch": batch, "program": program}
                asked |= {"threads": threads, "repeats": options.repeats}
                command = [sys.executable, __file__, "--measure", json.dumps(asked)]
                ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                result[f"threads_{threads}"] = json.loads(ended.stdout.splitlines()[-1])
            one, two = (result[f"threads_{n}"]["step_s"] for n in (1, 2))
            facts = network_of(name).facts
            speed = 3 * facts.multiply_adds * batch / one
            print(
                f"{name}, batch {batch}, {runtime}: {1000 * one:.2f} ms a step on one thread "
                f"({speed / 1e9:.1f}e9 multiply-adds/s), {1000 * two:.2f} on two, exponent "
                f"{math.log2(one / two):.2f}; {facts.layers} layers, first step "
                f"{result['threads_1']['trace_s']:.2f} s"
                + (f", compiled in {result['compile_s']:.1f} s" if program else ""),
                flush=True,
            )
            results.append(result)
            if options.results:
                options.results.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
