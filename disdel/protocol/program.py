"""A compiled network as files: what the host's compiler writes and an action executes.

A folder with `program.json` (this description), and for each target CPU `train-<target>.vmfb` and
`score-<target>.vmfb`, modules for IREE's runtime. Both have one function, `main`:

    train: state…, x (batch, *input_shape), y (batch,), weight (batch,) float32,
           if the network draws at random: seed () uint32
           if it moves averages of batch statistics: clients that share the steps, () float32
           if it adds terms: proximal () float32, and a shift of each trained tensor, float32
           → the state after one step…, the loss summed over the samples, float32
    score: the model's part of the state…, x (score_batch, …), y, weight
           → loss summed, float32; samples classified correctly, int32; each metric summed, float32

Labels y are class numbers, int32, or numbers to predict, float32. A sample of weight 0 has no part
in a result: a ragged batch is a whole one with such samples. What is drawn at random in a step
depends on its seed alone. Neither the run's seed nor a learning rate is in a module, so that a
network is compiled once for all of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import dacite

from disdel.types.specs import CallMemory, TriedSteps

DESCRIPTION = "program.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Initial:
    """How the values of a tensor begin, each drawn by itself.

    Attributes:
        kind: their distribution; a truncated one has nothing beyond two standard deviations.
        center: its mean, or the constant.
        spread: the standard deviation before it was cut, or half of the interval.
    """

    kind: Literal["constant", "uniform", "normal", "truncated-normal"]
    center: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTensor:
    """One tensor of the state; `dtype` is numpy's name. Scalars have the shape ()."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    initial: Initial


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileTarget:
    """A CPU that modules are compiled for: its machine as `platform.machine` names it, and the
    instructions it takes as Linux names them.
    """

    name: str
    machine: str
    cpu_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the modules take and give.

    Attributes:
        input_shape: of one sample.
        input_dtype: numpy name of the samples' dtype, as stored.
        batch_size: samples of a training step.
        score_batch: samples of a call of `score`.
        state: the tensors of the state in the modules' order, those of the model first.
        model_tensors: how many of them are the model's; the others are the optimizer's.
        trained: the names of the tensors that steps change by gradients.
        frozen: the names of the model's tensors that no step changes.
        adds_terms: whether a training step adds a strategy's terms to its gradients.
        draws: whether a training step draws at random.
        moves: whether a training step moves averages of batch statistics.
        classifies: whether samples have classes.
        metrics: names of what `score` gives beside the loss.
        memory: what the modules take by the compiler's own word, the most of any target.
        steps: what training steps took where this was compiled; None where that is of other CPUs.
        targets: the CPUs that there are modules for, of each machine the fastest first.
    """

    input_shape: tuple[int, ...]
    input_dtype: str
    batch_size: int
    score_batch: int
    state: tuple[StateTensor, ...]
    model_tensors: int
    trained: tuple[str, ...]
    adds_terms: bool
    draws: bool
    classifies: bool
    metrics: tuple[str, ...]
    memory: CallMemory
    targets: tuple[CompileTarget, ...]
    frozen: tuple[str, ...] = ()
    steps: TriedSteps | None = None
    moves: bool = False

    def write(self, folder: Path) -> None:
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Program:
        """The description in `folder`; raises `OSError` where there is none."""
        data = json.loads((folder / DESCRIPTION).read_text())
        return dacite.from_dict(cls, data, dacite.Config(cast=[tuple]))


def module_path(folder: Path, function: str, target: CompileTarget) -> Path:
    """The file of `train` or `score` for a target."""
    return folder / f"{function}-{target.name}.vmfb"


def cpu_flags() -> frozenset[str]:
    """The instructions that this machine's CPU has, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(flags.partition(":")[2].split())
