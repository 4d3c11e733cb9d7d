"""Training steps in float32 and in bfloat16: their time, and the memory that they add.

    .venv/bin/python experiments/precision/run.py > experiments/precision/results.json

Every setup has a process of its own, with one CPU thread and random samples. Its time is that of
the fastest of several blocks; its memory the largest working set after the blocks, less that of the
built network before them.
"""

import json
import subprocess
import sys
import time

import numpy as np

from disdel.models import built_in
from disdel.protocol.messages import Network
from disdel.types.units import MIB
from disdel.worker.footprint import footprint_now, working_set_bytes
from disdel.worker.network import TrainerCache

RUNTIMES = ("tensorflow", "torch")
PRECISIONS = ("float32", "bfloat16")
SETUPS = (
    ("cnn", (28, 28, 1), 64),
    ("cnn", (28, 28, 1), 512),
    ("cnn2", (32, 32, 3), 64),
    ("cnn2", (32, 32, 3), 512),
    ("resnet20", (32, 32, 3), 32),
    ("resnet20", (32, 32, 3), 256),
)
STEPS = 4
LEAST_S = 4.0


def measure(runtime: str, precision: str, model: str, shape: tuple[int, ...], batch: int) -> dict:
    network = Network(
        runtime=runtime,
        model=built_in(model, input_shape=shape, classes=10),
        optimizer="adam",
        learning_rate=None,
        seed=0,
        threads=1,
        precision=precision,
    )
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (STEPS, batch, *shape), np.uint8)
    y = random.integers(0, 10, (STEPS, batch), np.int32)
    trainers = TrainerCache()
    trainers.import_framework(runtime)
    trainer = trainers.get(network, x)
    trainer.load_state(trainer.state())
    footprint_now()
    before = working_set_bytes()
    trainer.train(x, y)
    taken_s, until = [], time.perf_counter() + LEAST_S
    while len(taken_s) < 3 or time.perf_counter() < until:
        began_s = time.perf_counter()
        trainer.train(x, y)
        taken_s.append(time.perf_counter() - began_s)
    return {
        "step_ms": round(1000 * min(taken_s) / STEPS, 2),
        "added_mb": round((working_set_bytes() - before) / MIB, 1),
    }


def main() -> None:
    results = []
    for runtime in RUNTIMES:
        for model, shape, batch in SETUPS:
            for precision in PRECISIONS:
                setup = [runtime, precision, model, list(shape), batch]
                command = [sys.executable, __file__, json.dumps(setup)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results.append(
                    {
                        "runtime": runtime,
                        "model": model,
                        "batch": batch,
                        "precision": precision,
                        **json.loads(done.stdout),
                    }
                )
                print(results[-1], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        runtime, precision, model, shape, batch = json.loads(sys.argv[1])
        print(json.dumps(measure(runtime, precision, model, tuple(shape), batch)))
    else:
        main()
