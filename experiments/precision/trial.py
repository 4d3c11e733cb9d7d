"""What the products of a step in both precisions say, beside whole steps in both.

    python experiments/precision/trial.py

A run that may choose its precision on TensorFlow tries out the products of one step
(`disdel/runtimes/keras/rehearsal.py`), since whole steps are traced first. Prints the ratio of
bfloat16 to float32 by both ways, the least of several by CPU time on one thread, and the CPU
seconds of each way, as Markdown. Random samples, Adam.
"""

import math
import os
import tempfile
import time

import numpy as np

from disdel.models import built_in
from disdel.planner.precision import open_precisions
from disdel.runtimes.base import Trainer
from disdel.runtimes.registry import runtime_named
from openwhisk_local.machine.allocator import keep_freed_memory

NETWORKS = [("cnn", (28, 28, 1)), ("cnn", (32, 32, 3)), ("mlp", (28, 28, 1)), ("mlp", (32, 32, 3))]
BATCHES = (32, 64, 128, 256)
REPEATS = 8


def cpu_s(work) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def compared(take) -> tuple[float, float]:
    """The ratio of bfloat16 to float32, and the seconds that a trial of it takes."""
    spent_s = [cpu_s(lambda p=p: take(p)) for p in ("float32", "bfloat16")]
    least = dict.fromkeys(("float32", "bfloat16"), math.inf)
    for repeat in range(REPEATS):
        for precision in least:
            took_s = cpu_s(lambda p=precision: take(p))
            least[precision] = min(least[precision], took_s)
            if repeat < 3:  # As many as a run takes.
                spent_s.append(took_s)
    return least["bfloat16"] / least["float32"], sum(spent_s)


def main() -> None:
    keep_freed_memory()
    runtime = runtime_named("tensorflow")
    os.environ |= dict(runtime.environment)
    runtime.import_framework()
    from disdel.protocol.messages import Network
    from disdel.worker.network import TrainerCache

    random = np.random.default_rng(0)
    print("| network | batch | products | whole steps | products, s | whole steps, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, shape in NETWORKS:
        spec = built_in(name, input_shape=shape, classes=10)
        for batch in BATCHES:
            if len(open_precisions(spec, batch, runtime.precisions, on_gpu=False)) == 1:
                continue
            x = random.integers(0, 256, (batch, *shape), np.uint8)
            y = random.integers(0, 10, batch).astype(np.int32)
            asked = Network(
                runtime="tensorflow",
                model=spec,
                optimizer="adam",
                learning_rate=None,
                seed=0,
                threads=1,
            )
            trainer = TrainerCache().get(asked, x)
            by_products, products_s = compared(trainer.rehearsal(x, y))
            by_steps, steps_s = compared(Trainer.rehearsal(trainer, x, y))
            sizes = "×".join(map(str, shape))
            print(
                f"| {name} {sizes} | {batch} | {by_products:.2f} | {by_steps:.2f} | "
                f"{products_s:.2f} | {steps_s:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as state:
        os.environ["DISDEL_STATE_DIR"] = state
        main()
