"""Training steps of the runtimes, in turn: how much slower is each than TensorFlow?

    python experiments/step_speed/in_turn.py [--results experiments/step_speed/in_turn.jsonl] \
        [--cases cnn:64 cnn:10 cnn2-mnist:10 resnet20:32] [--precision float32 bfloat16]

Every trainer lives in a process of its own with one thread, and all of them train on the same
random samples, a block after a block in turn, so that what else the machine does meets all alike.
The least block of each counts, in seconds of CPU. A compiled network is compiled anew.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from run import NETWORKS, compiled, network_of

CASES = ("cnn:64", "cnn:10", "cnn2-mnist:10", "resnet20:32")
RUNTIMES = ("tensorflow", "torch", "compiled")


def serve(runtime: str, name: str, batch: int, steps: int, precision: str, program: str) -> None:
    """Train a block for each line of stdin, and answer its seconds of CPU and of wall."""
    from disdel.protocol.messages import Network
    from disdel.worker.network import TrainerCache

    random = np.random.default_rng(0)
    x = random.integers(0, 256, (steps, batch, *NETWORKS[name]), np.uint8)
    y = random.integers(0, 10, (steps, batch)).astype(np.int32)
    if runtime == "compiled":
        from disdel.runtimes.compiled.trainer import CompiledTrainer

        trainer = CompiledTrainer(Path(program), seed=0, threads=1)
    else:
        network = Network(
            runtime=runtime,
            model=network_of(name),
            optimizer="adam",
            learning_rate=None,
            seed=0,
            threads=1,
        )
        trainer = TrainerCache().get(network, x)
    trainer.compute_in(precision)
    for _ in sys.stdin:
        began = time.process_time(), time.perf_counter()
        trainer.train(x, y)
        took = time.process_time() - began[0], time.perf_counter() - began[1]
        print(json.dumps(took), flush=True)


def ask(server: subprocess.Popen[str]) -> tuple[float, float]:
    server.stdin.write("\n")
    server.stdin.flush()
    return tuple(json.loads(server.stdout.readline()))


def platform_name() -> str:
    """The CPU's name, where Linux tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def in_turn(setups: dict[str, dict], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU and of wall a step, by setup: the least and the median of the blocks."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for label, setup in setups.items():
            command = [sys.executable, __file__, "--serve", json.dumps(setup)]
            servers[label] = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        blocks = {label: [] for label in setups}
        for server in servers.values():
            ask(server)  # It traces.
        for _ in range(repeats):
            for label, server in servers.items():
                blocks[label].append(ask(server))
        for server in servers.values():
            server.stdin.close()
    return {
        label: {
            f"{clock}_{of.__name__}_ms": round(1000 * of(times) / setups[label]["steps"], 3)
            for clock, times in zip(("cpu", "wall"), zip(*blocks[label], strict=True), strict=True)
            for of in (min, statistics.median)
        }
        for label in setups
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, choices=RUNTIMES)
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(**json.loads(options.serve))
        return
    with tempfile.TemporaryDirectory() as state:
        os.environ.setdefault("DISDEL_STATE_DIR", state)
        for case in options.cases:
            name, batch = case.split(":")
            setups = {}
            for runtime in options.runtimes:
                for precision in options.precision:
                    setup = {"runtime": runtime, "name": name, "batch": int(batch)}
                    setup |= {"precision": precision, "program": ""}
                    # Blocks of some 0.1 s: no clock matters then.
                    setup["steps"] = 3 if name == "resnet20" else 240 // int(batch)
                    if runtime == "compiled":
                        setup["program"], _ = compiled(name, int(batch))
                    setups[f"{runtime} {precision}"] = setup
            found = in_turn(setups, options.repeats)
            base = found.get("tensorflow float32", {}).get("cpu_min_ms")
            for label, times in found.items():
                ratio = f"{times['cpu_min_ms'] / base:.2f} × TensorFlow" if base else ""
                print(
                    f"{case} {label}: {times['cpu_min_ms']:.2f} ms of CPU a step (median "
                    f"{times['cpu_median_ms']:.2f}, wall {times['wall_min_ms']:.2f}) {ratio}",
                    flush=True,
                )
            if options.results:
                cpu = platform_name()
                with options.results.open("a") as file:
                    for label, times in found.items():
                        file.write(
                            json.dumps({"case": case, "run": label, **times, "cpu": cpu}) + "\n"
                        )


if __name__ == "__main__":
    main()
