"""What the planner assumes of a compiled network: compiling it, its steps, its second thread.

    python experiments/step_speed/run.py [--networks cnn cnn2 resnet20] [--repeats 5]

Each network is compiled into an empty state directory, then trained in blocks with one thread and
with two, in a process of its own each time. Prints one line a network: seconds to compile, ms a
step (the least block of all repeats), and by how much the second thread helps.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from disdel.catalog.models import model_facts
from disdel.compiler import CompileJob, compile_program
from disdel.types import ModelSpec

SHAPES = {"cnn": (28, 28, 1), "mlp": (28, 28, 1), "lenet5": (28, 28, 1)}
CIFAR = (32, 32, 3)
STEPS = 16


def least_ms(folder, threads, shape, batch, repeats):
    """The least ms a step of blocks of `STEPS` steps."""
    from pathlib import Path

    from disdel.training.compiled_adapter import CompiledTrainer

    random = np.random.default_rng(0)
    x = random.integers(0, 256, (STEPS, batch, *shape), np.uint8)
    y = random.integers(0, 10, (STEPS, batch)).astype(np.int32)
    trainer = CompiledTrainer(Path(folder), threads=threads)
    trainer.train(x, y)
    least = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        trainer.train(x, y)
        least = min(least, time.perf_counter() - began)
    return 1000 * least / STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["mlp", "cnn", "cnn2", "resnet20"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(least_ms(**json.loads(options.measure)))
        return
    with tempfile.TemporaryDirectory() as state:
        os.environ["DISDEL_STATE_DIR"] = state
        for name in options.networks:
            shape = SHAPES.get(name, CIFAR)
            model = ModelSpec(name=name, input_shape=shape, classes=10)
            began = time.perf_counter()
            folder = compile_program(
                CompileJob(
                    model=model,
                    input_dtype="uint8",
                    batch_size=options.batch,
                    optimizer="adam",
                    targets=("host",),
                )
            )
            compile_s = time.perf_counter() - began
            ms = []
            for threads in (1, 2):
                asked = {"folder": str(folder), "threads": threads, "shape": shape}
                asked |= {"batch": options.batch, "repeats": options.repeats}
                command = [sys.executable, __file__, "--measure", json.dumps(asked)]
                ms.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
            facts = model_facts(model)
            speed = 3 * facts.multiply_adds * options.batch / (ms[0] / 1000)
            print(
                f"{name}, {facts.layers} layers: compiled in {compile_s:.1f} s; {ms[0]:.2f} ms a "
                f"step on one thread ({speed / 1e9:.1f}e9 multiply-adds/s), {ms[1]:.2f} on two, "
                f"exponent {math.log2(ms[0] / ms[1]):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
