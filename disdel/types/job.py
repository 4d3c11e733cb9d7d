"""What the user asked for: each field is an option, declared by the `Setting` beside its type."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.names import (
    OPTIMIZERS,
    Average,
    OptimizerState,
    Precision,
    RateScale,
    RateShape,
    RuntimeName,
    Sync,
    WorkersPolicy,
)
from disdel.types.setting import Setting

MAX_BATCH_SIZE = 65_536
MAX_EPOCHS = 100_000
_MOST = 2**31
_MOST_WORKERS = 10_000

_ROUNDS = "Rounds"
_AUTO = {"auto": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSchedule:
    """How the learning rate changes over a run (`runtimes/rates.py` has the formulas).

    Attributes:
        shape: how it falls after the warm-up.
        warmup: steps of a worker during which it rises; below 1, a share of all its steps.
        scale: how all of it grows with the updates that are averaged: one a client.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    shape: Annotated[
        RateShape,
        Setting(
            "How the learning rate falls after the warm-up, to 0 at the end.",
            name="schedule",
            group=_ROUNDS,
        ),
    ] = "constant"
    warmup: Annotated[
        float,
        Setting(
            "How long the learning rate rises at first: steps, or below 1 a share of the run.",
            metavar="STEPS|FRACTION",
            group=_ROUNDS,
        ),
    ] = 0.0
    scale: Annotated[
        RateScale,
        Setting(
            "How the learning rate grows with the number of workers, or of clients.",
            name="scale_rate",
            group=_ROUNDS,
        ),
    ] = "none"

    def __post_init__(self) -> None:
        take_fields(self)
        if not (0 <= self.warmup < 1 or (1 <= self.warmup < 2**31 and self.warmup % 1 == 0)):
            raise UsageError(
                "--warmup must be a whole number of steps, or below 1 a share of all, not "
                f"{self.warmup:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """When the average is scored, and what ends a run early.

    What decides is the validation split, which then none of the workers trains on; the test split
    tells of the finished model alone. Where nothing is decided, the rounds are scored on the test
    split.

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

    every: Annotated[
        int | None,
        Setting(
            "Rounds from one score to the next.",
            name="validate_every",
            low=1,
            high=_MOST,
            default="1, or more where the platform limits invocations",
            group=_ROUNDS,
        ),
    ] = None
    target_accuracy: Annotated[
        float | None,
        Setting("Stop when the validation accuracy reaches it.", above=0, high=1, group=_ROUNDS),
    ] = None
    patience: Annotated[
        int | None,
        Setting(
            "Stop after N rounds without a lower validation loss, and keep the best round's model.",
            low=1,
            high=_MOST,
            group=_ROUNDS,
        ),
    ] = None

    @property
    def decides(self) -> bool:
        """Whether a score may end the run or choose its model."""
        return self.target_accuracy is not None or self.patience is not None

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What the user asked for; None leaves workers, runtime and fan-in to the planner.

    `dataset` is a name, or a function of the user's as `disdel.user_code.collecting` reads it; so
    is `model`. `optimizer` is None for that of the user's model, else `DEFAULT_OPTIMIZER`.

    Attributes:
        strategy: a name of `disdel.strategies`: who trains in a round, and what becomes of it.
        average: a client's weight in an average: the samples that it has seen, or 1.
        optimizer_state: what becomes of the optimizers' state and counters at the end of a round:
            forgotten, kept by each client for itself, or averaged as the weights are.
        partition: how the training samples are dealt to clients: a partitioner, and its number.
        clients: how many there are; None is one for each worker. A worker trains its clients one
            after another, and each is an update of the round.
        rate_schedule: how the learning rate changes over the run.
        validation: when the average is scored, and what ends the run early.
        workers_policy: whether the workers may become more or fewer between rounds, and
        workers_max: how many then at most; None leaves it to the other limits.
        precision: what training steps compute in.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_TRAIN_"

    dataset: Annotated[
        str,
        Setting(
            "A data set (`disdel dataset list` shows some), or FILE.py:FUNCTION.", argument=True
        ),
    ]
    batch_size: Annotated[
        int,
        Setting(
            "Samples in a training step, per worker.", name="batch", low=1, high=MAX_BATCH_SIZE
        ),
    ] = 64
    epochs: Annotated[int, Setting("Passes over the data.", low=1, high=MAX_EPOCHS)] = 5
    workers: Annotated[
        int | None,
        Setting("Train actions that run at the same time.", words=_AUTO, low=1, high=_MOST_WORKERS),
    ] = None
    sync: Annotated[
        Sync,
        Setting(
            "When to average: every epoch, once at the end, or every K steps.",
            metavar="epoch|once|K",
            low=1,
            high=_MOST,
        ),
    ] = "epoch"
    fan_in: Annotated[
        int | None,
        Setting("Most updates that one action averages.", words=_AUTO, low=2, high=_MOST_WORKERS),
    ] = None
    model: Annotated[
        str,
        Setting(
            "A built-in network (cnn, mlp, resnet20, …), or your own.",
            metavar="NAME|FILE.py:FUNCTION",
        ),
    ] = "auto"
    runtime: Annotated[
        RuntimeName | None,
        Setting(
            "What the actions run on: auto or tensorflow, torch, compiled.",
            metavar="NAME",
            words=_AUTO,
        ),
    ] = None
    precision: Annotated[
        Precision, Setting("Precision of training steps; weights stay float32.")
    ] = "float32"
    optimizer: Annotated[
        str | None,
        Setting(f"{', '.join(OPTIMIZERS)}.", metavar="NAME", default="your model's own, else adam"),
    ] = None
    learning_rate: Annotated[
        float | None,
        Setting(
            "Learning rate of the first step.", above=0, high=1000, default="the optimizer's own"
        ),
    ] = None
    seed: Annotated[
        int,
        Setting(
            "Seed of weights, shards and the order of samples, below 2^32.", low=0, high=2**32 - 1
        ),
    ] = 0
    partition: Annotated[
        str, Setting("How training samples are dealt to the clients: iid.", metavar="NAME")
    ] = "iid"
    clients: Annotated[
        int | None,
        Setting(
            "Clients that the samples are dealt to; a worker trains its own one after another.",
            low=1,
            high=_MOST_WORKERS,
            default="one for each worker",
        ),
    ] = None
    rate_schedule: RateSchedule = field(default_factory=RateSchedule)
    validation: Validation = field(default_factory=Validation)
    workers_policy: Annotated[
        WorkersPolicy,
        Setting(
            "adapt adds workers while epochs get faster, and removes them otherwise.", group=_ROUNDS
        ),
    ] = "fixed"
    workers_max: Annotated[
        int | None,
        Setting(
            "Most workers with --workers-policy adapt.", low=1, high=_MOST_WORKERS, group=_ROUNDS
        ),
    ] = None
    average: Annotated[
        Average,
        Setting("Weight of a worker's update: its samples, or the same for all.", group=_ROUNDS),
    ] = "samples"
    strategy: Annotated[
        str,
        Setting(
            "How the updates of a round become the next model: fedavg.",
            metavar="NAME",
            group=_ROUNDS,
        ),
    ] = "fedavg"
    optimizer_state: Annotated[
        OptimizerState,
        Setting(
            "Optimizer state between rounds: reset, kept by each worker, or averaged like weights.",
            group=_ROUNDS,
        ),
    ] = "average"

    def __post_init__(self) -> None:
        take_fields(self)
        if self.workers_policy == "adapt" and self.sync != "epoch":
            raise UsageError(
                f"--workers-policy adapt compares epochs, so it needs --sync epoch, not {self.sync}"
            )
        if self.workers_max is not None:
            self._check_most_workers(self.workers_max)
        if self.clients is not None and (self.workers or 1) > self.clients:
            raise UsageError(
                f"--workers {self.workers} is more than --clients {self.clients}: a worker trains "
                f"at least one; use --workers {self.clients} or fewer, or more --clients"
            )
        if (
            self.workers_policy == "adapt"
            and self.optimizer_state == "local"
            and self.clients is None
        ):
            raise UsageError(
                "--workers-policy adapt cannot go with --optimizer-state local: a worker that is "
                "gone would take its optimizer with it (with --clients N, they keep theirs)"
            )
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {self.optimizer!r}; known: {', '.join(OPTIMIZERS)}"
            )

    def _check_most_workers(self, most: int) -> None:
        if self.workers_policy != "adapt":
            raise UsageError(
                f"--workers-max {most} bounds --workers-policy adapt, and the policy is "
                f"{self.workers_policy}: add --workers-policy adapt, or fix their number with "
                "--workers"
            )
        if (self.workers or 1) > most:
            raise UsageError(
                f"--workers {self.workers} is more than --workers-max {most}: lower the one or "
                "raise the other"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class InferJob:
    """What the user asked for.

    Attributes:
        dataset: the data set whose test split is evaluated, or whose shapes the input has.
        model: a run's id or a model file; None for the newest run that trained on the data set.
        model_code: the function that made the model, where its code does not lie beside the file.
        trust_code: run the code that lies beside the model, whoever it is from.
        input: samples to predict instead of the test split.
        workers: evaluate actions at the same time; None chooses.
        top_k: classes that are guessed of each sample.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_INFER_"

    dataset: Annotated[
        str,
        Setting(
            "A data set (`disdel dataset list` shows some), or FILE.py:FUNCTION.", argument=True
        ),
    ]
    model: Annotated[
        str | None,
        Setting("A run, or its model's file.", metavar="RUN|PATH", default="the newest run's"),
    ] = None
    model_code: Annotated[
        str | None,
        Setting(
            "Code of your own network, if its file was moved away from its run.",
            metavar="FILE.py:FUNCTION",
        ),
    ] = None
    trust_code: Annotated[
        bool,
        Setting(
            "Run the model's code, even if no training of yours has used it.",
            in_environment=False,
        ),
    ] = False
    input: Annotated[
        Path | None,
        Setting(
            "Samples to predict, instead of scoring the test split.",
            metavar="FILE.npz|.csv|.png|DIR",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Setting(
            "Evaluate actions that run at the same time.", words=_AUTO, low=1, high=_MOST_WORKERS
        ),
    ] = None
    top_k: Annotated[
        int, Setting("Likeliest classes to report for each sample.", metavar="K", low=1)
    ] = 1

    def __post_init__(self) -> None:
        take_fields(self)
