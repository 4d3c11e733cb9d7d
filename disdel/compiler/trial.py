"""What training steps of a compiled network take on the machine that has compiled it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from disdel.protocol.program import Program
from disdel.runtimes.compiled.trainer import CompiledTrainer
from disdel.runtimes.steps_tried import FirstStep
from disdel.types import TriedSteps


def steps_of(folder: Path) -> TriedSteps:
    """Those of the program in `folder`, on samples and labels of zeros: it computes the same."""
    program = Program.read(folder)
    trainer = CompiledTrainer(folder, seed=0, threads=1)
    x = np.zeros((program.batch_size, *program.input_shape), program.input_dtype)
    label = np.int32 if program.classifies else np.float32
    return FirstStep(trainer, x, np.zeros(program.batch_size, label)).followed()
