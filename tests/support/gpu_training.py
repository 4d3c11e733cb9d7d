"""A process that trains as an action does: `gpu_training.py '[RUNTIME, GPU_MEMORY_MB, PRECISION]'`.

It says that it has placed its network, waits for a line, trains, and says in JSON what came of it.
"""

import json
import sys

import numpy as np

from disdel.models import built_in
from disdel.protocol.messages import Network
from disdel.worker.network import TrainerCache

MIB = 2**20


def main() -> None:
    runtime, memory_mb, precision = json.loads(sys.argv[1])
    network = Network(
        runtime=runtime,
        model=built_in("cnn", input_shape=(28, 28, 1), classes=10),
        optimizer="adam",
        learning_rate=None,
        seed=0,
        threads=2,
        precision=precision,
        gpu_memory_mb=memory_mb,
    )
    trainer = TrainerCache().get(network, np.zeros((1, 28, 28, 1), np.uint8))
    # Whatever a device draws from a seed, all begin alike.
    random = np.random.default_rng(0)
    trainer.load_state(
        {
            name: random.normal(0, 0.05, value.shape).astype(value.dtype)
            for name, value in trainer.state().items()
            if name.startswith("model/")
        }
    )
    x = random.integers(0, 256, (8, 64, 28, 28, 1), np.uint8)
    y = random.integers(0, 10, (8, 64), np.int32)
    say("ready")
    sys.stdin.readline()
    loss = trainer.train(x, y) / y.size
    arrays = trainer.state().values()
    scored = trainer.score(x[0], y[0])
    say(
        json.dumps(
            {
                "loss": loss,
                "scored": scored.loss_sum / len(y[0]),
                "in_ram": all(isinstance(value, np.ndarray) for value in arrays),
                "gpu_mb": gpu_mb(runtime),
            }
        )
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def gpu_mb(runtime: str) -> float:
    """The most that tensors have taken of the GPU; 0 where none was used."""
    if runtime == "torch":
        import torch

        return torch.cuda.max_memory_reserved() / MIB if torch.cuda.is_available() else 0.0
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / MIB if gpus else 0.0


if __name__ == "__main__":
    main()
