"""`disdel calibrate`: a few short trainings whose containers show what a platform costs.

They are ordinary runs of the default network on random samples, with all of the machine for one
worker, with a share of it for each of several, and with two batch sizes. What they took goes into
the history as after any other training.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from disdel.controller.planning.history import history_of
from disdel.controller.training.train import train_on
from disdel.data import DatasetArrays
from disdel.planner.calibration import calibrated
from disdel.runtimes.registry import runtime_named
from disdel.settings import Settings
from disdel.types import (
    DatasetSpec,
    RuntimeCosts,
    RuntimeName,
    TrainJob,
    feature_of,
    target_of,
)
from disdel.types.events import Listener, Noted, silent
from openwhisk_local.machine.scratch import Scratch, sweep

_PREFIX = "disdel-calibrate-"
_SHAPE = (28, 28, 1)
_CLASSES = 10
_TRAIN_SAMPLES = 8192
_TEST_SAMPLES = 1024
_EPOCHS = 3
# Workers (None is as many as the planner finds best) and batch size.
_SETUPS = ((1, 64), (None, 64), (None, 256))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration has found, and where it is kept."""

    runtime: RuntimeCosts
    containers: int
    path: Path


async def calibrate(name: RuntimeName, settings: Settings, emit: Listener) -> Calibrated:
    """Measure the runtime `name` on the platform that `settings` lead to.

    Raises:
        DisdelError: a run failed.
    """
    arrays = _random_arrays()
    sweep(_PREFIX)
    with Scratch(_PREFIX) as folder:
        here = replace(settings, run_dir=folder)
        for workers, batch in _SETUPS:
            job = TrainJob(
                dataset=arrays.spec.name,
                epochs=_EPOCHS,
                batch_size=batch,
                workers=workers,
                runtime=name,
            )
            report, _ = await train_on(arrays, job, here, silent, started_s=time.monotonic())
            used = report.settings["workers"]
            emit(Noted(message=f"workers {used}, batch {batch}: {report.wall_s:.1f} s"))
    runtime = runtime_named(name)
    history = history_of(runtime, settings)
    observations = history.read()
    return Calibrated(calibrated(runtime.costs, observations), len(observations), history.path)


def _random_arrays() -> DatasetArrays:
    """Samples without meaning, in the shapes of the commonest data set."""
    spec = DatasetSpec(
        name="random",
        version="1.0.0",
        features=(feature_of(_SHAPE, "uint8"),),
        targets=(target_of(_CLASSES),),
        train_samples=_TRAIN_SAMPLES,
        test_samples=_TEST_SAMPLES,
    )
    random = np.random.default_rng(0)
    return DatasetArrays(
        spec=spec,
        train_x=random.integers(0, 256, (_TRAIN_SAMPLES, *_SHAPE), np.uint8),
        train_y=random.integers(0, _CLASSES, _TRAIN_SAMPLES, np.int32),
        test_x=random.integers(0, 256, (_TEST_SAMPLES, *_SHAPE), np.uint8),
        test_y=random.integers(0, _CLASSES, _TEST_SAMPLES, np.int32),
    )
