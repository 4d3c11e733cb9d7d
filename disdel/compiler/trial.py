"""What training steps of a compiled network take on the machine that has compiled it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from disdel.protocol.program import Program
from disdel.runtimes.compiled.trainer import CompiledTrainer
from disdel.runtimes.steps_tried import FirstStep
from disdel.types import TriedSteps
from disdel.types.arrays import Array

# Of more CPUs than these, a further one that computes makes no difference to the others.
_AT_ONCE_AT_MOST = 8


def steps_of(folder: Path) -> TriedSteps:
    """Those of the program in `folder` while all CPUs take them, as the workers of a run will.

    Samples and labels are zeros: it computes the same.
    """
    program = Program.read(folder)
    count = min(os.cpu_count() or 1, _AT_ONCE_AT_MOST)
    x = np.zeros((program.batch_size, *program.input_shape), program.input_dtype)
    label = np.int32 if program.classifies else np.float32
    with ThreadPoolExecutor(count) as threads:
        all_at_once = _AtOnce(folder, count, threads)
        tried = FirstStep(all_at_once, x, np.zeros(program.batch_size, label)).followed()
    return replace(tried, step_s=tried.step_s / count, trace_s=(tried.trace_s or 0.0) / count)


class _AtOnce:
    """Trainers of one program, each on a thread, that take the same steps at the same time."""

    def __init__(self, folder: Path, count: int, threads: ThreadPoolExecutor) -> None:
        self._trainers = [CompiledTrainer(folder, seed=0, threads=1) for _ in range(count)]
        self._threads = threads

    def train(self, x: Array, y: Array) -> None:
        """Take the steps of a block."""
        taken = [self._threads.submit(one.train, x, y) for one in self._trainers]
        for one in taken:
            one.result()
