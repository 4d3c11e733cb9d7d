"""What the user asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from disdel.errors import UsageError
from disdel.types.checks import check_range, take_fields
from disdel.types.names import (
    OPTIMIZERS,
    Average,
    EstimatorName,
    Objective,
    OptimizerState,
    Precision,
    RateScale,
    RateShape,
    RuntimeName,
    Sync,
    WorkersPolicy,
)

MAX_BATCH_SIZE = 65_536
MAX_EPOCHS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSchedule:
    """How the learning rate changes over a run (`training/rates.py` has the formulas).

    Attributes:
        shape: how it falls after the warm-up.
        warmup: steps of a worker during which it rises; below 1, a share of all its steps.
        scale: how all of it grows with the workers of a round.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    shape: RateShape = "constant"
    warmup: float = 0.0
    scale: RateScale = "none"

    def __post_init__(self) -> None:
        take_fields(self, shape="--schedule", scale="--scale-rate")
        if not (0 <= self.warmup < 1 or (1 <= self.warmup < 2**31 and self.warmup % 1 == 0)):
            raise UsageError(
                "--warmup must be a whole number of steps, or below 1 a share of all, not "
                f"{self.warmup:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """When the average is scored on the held-out split, and what ends a run early.

    Attributes:
        every: rounds from one score to the next, None for what the planner chooses: each, or fewer
            where the platform's limit on invocations a minute would hold up the run. The last
            round is always scored.
        target_accuracy: the run ends with the first score that reaches it.
        patience: the run ends when so many rounds have brought no lower loss than the best, and
            its model is that of the best round.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    every: int | None = None
    target_accuracy: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        take_fields(self, every="--validate-every")
        if self.every is not None:
            check_range("--validate-every", self.every, 1, 2**31)
        if self.patience is not None:
            check_range("--patience", self.patience, 1, 2**31)
        target = self.target_accuracy
        if target is not None and not 0 < target <= 1:
            raise UsageError(f"--target-accuracy must be above 0 and at most 1, not {target:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What the user asked for; None leaves workers, runtime and fan-in to the planner.

    `dataset` is a name, or a function of the user's as `disdel.user_code` reads it; so is `model`.
    `optimizer` is None for that of the user's model, else `DEFAULT_OPTIMIZER`.

    Attributes:
        average: a worker's weight in an average: the samples that it has seen, or 1.
        optimizer_state: what becomes of the optimizers' slots and counters at the end of a round:
            forgotten, kept by each worker for itself, or averaged as the weights are.
        rate_schedule: how the learning rate changes over the run.
        validation: when the average is scored, and what ends the run early.
        workers_policy: whether the workers may become more or fewer between rounds, and
        workers_max: how many then at most; None leaves it to the other limits.
        precision: what training steps compute in.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    dataset: str
    batch_size: int = 64
    epochs: int = 5
    sync: Sync = "epoch"
    workers: int | None = None
    model: str = "auto"
    runtime: RuntimeName | None = None
    fan_in: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    seed: int = 0
    average: Average = "samples"
    optimizer_state: OptimizerState = "average"
    rate_schedule: RateSchedule = field(default_factory=RateSchedule)
    validation: Validation = field(default_factory=Validation)
    workers_policy: WorkersPolicy = "fixed"
    workers_max: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        take_fields(self, batch_size="--batch")
        if self.workers_max is not None:
            check_range("--workers-max", self.workers_max, 1, 10_000)
        if self.workers_policy == "adapt" and self.sync != "epoch":
            raise UsageError(
                f"--workers-policy adapt compares epochs, so it needs --sync epoch, not {self.sync}"
            )
        if self.workers_policy == "adapt" and self.optimizer_state == "local":
            raise UsageError(
                "--workers-policy adapt cannot go with --optimizer-state local: a worker that is "
                "gone would take its optimizer with it"
            )
        check_range("--batch", self.batch_size, 1, MAX_BATCH_SIZE)
        check_range("--epochs", self.epochs, 1, MAX_EPOCHS)
        check_range("--seed", self.seed, 0, 2**32 - 1)
        if self.workers is not None:
            check_range("--workers", self.workers, 1, 10_000)
        if self.fan_in is not None:
            check_range("--fan-in", self.fan_in, 2, 10_000)
        if self.runtime == "compiled" and self.precision != "float32":
            raise UsageError(
                f"--runtime compiled computes in float32, not {self.precision}: take --runtime "
                "tensorflow or torch for that"
            )
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {self.optimizer!r}; known: {', '.join(OPTIMIZERS)}"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1000:
            raise UsageError(
                f"--learning-rate must be above 0 and at most 1000, not {self.learning_rate:g}"
            )
        if isinstance(self.sync, int):
            check_range("--sync", self.sync, 1, 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the user allows beyond what the platform allows; None leaves it to the platform.

    `gpu_memory_mb` is 0 for no GPU.
    """

    memory_max_mb: int | None = None
    pool_memory_mb: int | None = None
    gpu_memory_mb: int | None = None
    timeout_max_s: float | None = None

    def __post_init__(self) -> None:
        take_fields(self)
        if self.memory_max_mb is not None:
            check_range("--memory-max", self.memory_max_mb, 1, 2**31)
        if self.pool_memory_mb is not None:
            check_range("--pool-memory", self.pool_memory_mb, 1, 2**31)
        if self.gpu_memory_mb is not None:
            check_range("--gpu-memory", self.gpu_memory_mb, 0, 2**31)
        if self.timeout_max_s is not None and not 0 < self.timeout_max_s <= 86_400:
            raise UsageError(
                f"--timeout-max must be above 0 and at most 86400 s, not {self.timeout_max_s:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What a plan is to be good at.

    Attributes:
        optimize: what is made small: predicted time, GB·s, or the memory of all containers.
        estimator: how memory is estimated.
        miss_rate: the share of containers that may need more than their estimate.

    Raises:
        UsageError: a name is unknown, or the rate of another type or out of range.
    """

    optimize: Objective = "time"
    estimator: EstimatorName = "measured"
    miss_rate: float = 1e-3

    def __post_init__(self) -> None:
        take_fields(self)
        if not 1e-6 <= self.miss_rate <= 0.5:
            raise UsageError(f"--miss-rate must be from 1e-06 to 0.5, not {self.miss_rate:g}")
