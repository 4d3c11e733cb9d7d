"""What a training step of a network consists of on one runtime, on one thread.

    python experiments/profile/steps.py RUNTIME [--network cnn] [--batch 64]

The network is built as an action builds it, once with Adam and once with plain SGD: what Adam's
steps take beyond SGD's is the optimizer's share. Times are the least of several blocks, by the CPU
time of the process, which neighbours on the machine disturb less than the clock on the wall. Prints
one JSON object of ms.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from disdel.models import built_in
from disdel.runtimes.registry import runtime_named
from disdel.runtimes.schedule import Schedule
from disdel.store.codec import encode
from openwhisk_local.machine.allocator import keep_freed_memory

NETWORKS = {"cnn": (28, 28, 1), "cnn2": (32, 32, 3), "mlp": (28, 28, 1)}
STEPS, SCORED, SAMPLES = 16, 256, 30_000


def least_ms(work, repeats: int) -> dict[str, float]:
    """The least CPU and wall ms of some calls."""
    cpu = wall = math.inf
    for _ in range(repeats):
        began_cpu, began = time.process_time(), time.perf_counter()
        work()
        cpu = min(cpu, time.process_time() - began_cpu)
        wall = min(wall, time.perf_counter() - began)
    return {"cpu_ms": 1000 * cpu, "wall_ms": 1000 * wall}


def trainer_of(runtime: str, network: str, batch: int, optimizer: str, x):
    """A trainer as an action has it, and the seconds of compiling it, if it is compiled."""
    spec = built_in(network, input_shape=NETWORKS[network], classes=10)
    if runtime_named(runtime).compiles:
        from disdel.compiler import CompileJob, compile_program
        from disdel.runtimes.compiled.trainer import CompiledTrainer

        began = time.perf_counter()
        folder = compile_program(
            CompileJob(
                model=spec,
                input_dtype="uint8",
                batch_size=batch,
                optimizer=optimizer,
                targets=("host",),
            )
        )
        compile_s = time.perf_counter() - began
        return CompiledTrainer(Path(str(folder)), seed=0, threads=1), compile_s
    from disdel.protocol.messages import Network
    from disdel.worker.network import TrainerCache

    asked = Network(
        runtime=runtime,
        model=spec,
        optimizer=optimizer,
        learning_rate=None,
        seed=0,
        threads=1,
    )
    return TrainerCache().get(asked, x), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runtime", choices=["tensorflow", "torch", "compiled"])
    parser.add_argument("--network", default="cnn", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    keep_freed_memory()
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (SAMPLES, *NETWORKS[options.network]), np.uint8)
    labels = random.integers(0, 10, SAMPLES).astype(np.int32)
    runtime = runtime_named(options.runtime)
    os.environ |= dict(runtime.environment)
    began = time.perf_counter()
    runtime.import_framework()
    result = {"runtime": options.runtime, "network": options.network, "batch": options.batch}
    result["import_ms"] = 1000 * (time.perf_counter() - began)
    schedule = Schedule(SAMPLES, options.batch, 0, 0)

    def gathered():
        [(_, positions), *_] = schedule.blocks(0, STEPS, STEPS)
        return data[positions], labels[positions]

    x, y = gathered()
    took = least_ms(gathered, options.repeats)
    result["gather"] = {name: value / STEPS for name, value in took.items()}
    with tempfile.TemporaryDirectory() as state:
        os.environ["DISDEL_STATE_DIR"] = state
        for optimizer in ("adam", "sgd"):
            began = time.perf_counter()
            trainer, compile_s = trainer_of(
                options.runtime, options.network, options.batch, optimizer, x
            )
            if optimizer == "adam":
                spent = time.perf_counter() - began
                result["build_ms"] = 1000 * (spent - (compile_s or 0.0))
                result["compile_ms"] = None if compile_s is None else 1000 * compile_s
            for precision in runtime.precisions:
                trainer.compute_in(precision)
                began = time.perf_counter()
                trainer.train(x, y)
                first_s = time.perf_counter() - began
                took = least_ms(lambda t=trainer: t.train(x, y), options.repeats)
                step = {name: value / STEPS for name, value in took.items()}
                step["trace_ms"] = max(0.0, 1000 * first_s - took["wall_ms"])
                result[f"step_{optimizer}_{precision}"] = step
            if optimizer == "adam":
                trainer.score(data[:SCORED], labels[:SCORED])
                scored = least_ms(
                    lambda t=trainer: t.score(data[:SCORED], labels[:SCORED]), options.repeats
                )
                result["score_256"] = scored
                result["checkpoint"] = least_ms(
                    lambda t=trainer: encode(t.state()), options.repeats
                )
    facts = built_in(options.network, input_shape=NETWORKS[options.network], classes=10).facts
    result["multiply_adds"], result["parameters"] = facts.multiply_adds, facts.parameters
    print(json.dumps(result))


if __name__ == "__main__":
    main()
