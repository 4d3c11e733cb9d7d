"""What every way of learning is told: the settings that a training and a federation share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.names import (
    OPTIMIZERS,
    Average,
    Precision,
    RuntimeName,
)
from disdel.types.rate_schedule import ROUNDS, RateSchedule
from disdel.types.setting import Setting

DEFAULT_BATCH_SIZE = 64
MAX_BATCH_SIZE = 65_536
MAX_EPOCHS = 100_000
MAX_ROUNDS = 2**31

AUTO = {"auto": None}


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
            high=MAX_ROUNDS,
            default="1, or more where the platform limits invocations",
            group=ROUNDS,
        ),
    ] = None
    target_accuracy: Annotated[
        float | None,
        Setting("Stop when the validation accuracy reaches it.", above=0, high=1, group=ROUNDS),
    ] = None
    patience: Annotated[
        int | None,
        Setting(
            "Stop after N rounds without a lower validation loss, and keep the best round's model.",
            low=1,
            high=MAX_ROUNDS,
            group=ROUNDS,
        ),
    ] = None

    @property
    def decides(self) -> bool:
        """Whether a score may end the run or choose its model."""
        return self.target_accuracy is not None or self.patience is not None

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningJob:
    """What is learnt, by which network, and how its updates are averaged.

    `dataset` is a name, or a function of the user's as `disdel.user_code.collecting` reads it; so
    is `model`.

    Attributes:
        partition: how the training samples are dealt to clients: a partitioner, and its parameters.
        rate_schedule: how the learning rate changes over the run.
        validation: when the average is scored, and what ends the run early.
        average: a client's weight in an average: the samples that it has seen, 1, or its passes
            over its own samples.
        strategy: one of `disdel.strategies` with its parameters, as `fedprox:mu=0.1`, or
            `FILE.py:CLASS`: who trains in a round, and what becomes of it.
        outer: a strategy that is an optimizer of the averaged difference, said by this word.
        precision: what training steps compute in; None leaves it to a trial (`planner.precision`).

    Raises:
        UsageError: a value is of another type or out of range.
    """

    dataset: Annotated[
        str,
        Setting(
            "A data set (`disdel dataset list` shows some), or FILE.py:FUNCTION.", argument=True
        ),
    ]
    batch_size: Annotated[
        int,
        Setting(
            "Samples in a training step, per worker or client.",
            name="batch",
            low=1,
            high=MAX_BATCH_SIZE,
        ),
    ] = DEFAULT_BATCH_SIZE
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
            words=AUTO,
        ),
    ] = None
    precision: Annotated[
        Precision | None,
        Setting(
            "Precision of training steps; weights stay float32. auto takes bfloat16 for cnn and "
            "mlp where the processor has it and it is measured to be faster.",
            words=AUTO,
        ),
    ] = None
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
        str,
        Setting(
            "How training samples are dealt to the clients: iid, shards:K, classes:K, "
            "dirichlet:ALPHA, sizes:LAW, by:COLUMN, or your own.",
            metavar="NAME[:PARAMETERS]|FILE.py:FUNCTION",
        ),
    ] = "iid"
    rate_schedule: RateSchedule = field(default_factory=RateSchedule)
    validation: Validation = field(default_factory=Validation)
    average: Annotated[
        Average,
        Setting(
            "Weight of an update: its samples, the same for all, or its client's epochs.",
            group=ROUNDS,
        ),
    ] = "samples"
    strategy: Annotated[
        str,
        Setting(
            "How the updates of a round become the next model: fedavg, fedprox, scaffold, fedadam, "
            "median, … (docs/strategies.md), or a class of your own.",
            metavar="NAME[:KEY=VALUE,…]|FILE.py:CLASS",
            also="Strategy",
            group=ROUNDS,
        ),
    ] = "fedavg"
    outer: Annotated[
        str | None,
        Setting(
            "Optimizer of the averaged difference, in place of a --strategy: nesterov, fedavgm, "
            "fedadagrad, fedadam, fedyogi.",
            metavar="NAME[:KEY=VALUE,…]",
            also="Strategy",
            default="none: the average itself",
            group=ROUNDS,
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)
        if self.outer is not None and self.strategy != "fedavg":
            raise UsageError(
                f"--outer {self.outer} and --strategy {self.strategy} both say what becomes of a "
                "round's updates: give one of them"
            )
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {self.optimizer!r}; known: {', '.join(OPTIMIZERS)}"
            )
