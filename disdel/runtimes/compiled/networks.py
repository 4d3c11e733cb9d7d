"""The compiled network in an action's zip, as that part of `runtimes.runtime.Networks` that it is.

It was described by Keras, and its files are Keras's. Imports IREE's runtime when called.
"""

from __future__ import annotations

from pathlib import Path

from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.types.arrays import Array

# Where an action's zip holds a compiled network: beside the package `disdel`.
_PROGRAM = Path(__file__).resolve().parents[3] / "program"


def build_trainer(network: Network, samples: Array) -> Trainer:  # noqa: ARG001 - compiled in
    """As `Networks.build_trainer`; samples as stored."""
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    return CompiledTrainer(
        _PROGRAM,
        seed=network.seed,
        learning_rate=network.learning_rate,
        threads=network.threads,
    )
