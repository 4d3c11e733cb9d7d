"""What the user asked for: each field is an option, declared by the `Setting` beside its type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.learning import AUTO, MAX_EPOCHS, MAX_ROUNDS, LearningJob
from disdel.types.names import OptimizerState, Sync, WorkersPolicy
from disdel.types.rate_schedule import ROUNDS
from disdel.types.setting import Setting

_MOST_WORKERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob(LearningJob):
    """What the user asked for; None leaves workers, runtime and fan-in to the planner.

    `optimizer` is None for that of the user's model, else `DEFAULT_OPTIMIZER`.

    Attributes:
        optimizer_state: what becomes of the optimizers' state and counters at the end of a round:
            forgotten, kept by each client for itself, or averaged as the weights are.
        clients: how many there are; None is one for each worker. A worker trains its clients one
            after another, and each is an update of the round.
        workers_policy: whether the workers may become more or fewer between rounds, and
        workers_max: how many then at most; None leaves it to the other limits.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_TRAIN_"

    epochs: Annotated[int, Setting("Passes over the data.", low=1, high=MAX_EPOCHS)] = 5
    workers: Annotated[
        int | None,
        Setting("Train actions that run at the same time.", words=AUTO, low=1, high=_MOST_WORKERS),
    ] = None
    sync: Annotated[
        Sync,
        Setting(
            "When to average: every epoch, once at the end, or every K steps.",
            metavar="epoch|once|K",
            low=1,
            high=MAX_ROUNDS,
        ),
    ] = "epoch"
    fan_in: Annotated[
        int | None,
        Setting("Most updates that one action averages.", words=AUTO, low=2, high=_MOST_WORKERS),
    ] = None
    clients: Annotated[
        int | None,
        Setting(
            "Clients that the samples are dealt to; a worker trains its own one after another.",
            low=1,
            high=_MOST_WORKERS,
            default="one for each worker",
        ),
    ] = None
    workers_policy: Annotated[
        WorkersPolicy,
        Setting(
            "adapt adds workers while epochs get faster, and removes them otherwise.", group=ROUNDS
        ),
    ] = "fixed"
    workers_max: Annotated[
        int | None,
        Setting(
            "Most workers with --workers-policy adapt.", low=1, high=_MOST_WORKERS, group=ROUNDS
        ),
    ] = None
    optimizer_state: Annotated[
        OptimizerState,
        Setting(
            "Optimizer state between rounds: reset, kept by each worker, or averaged like weights.",
            group=ROUNDS,
        ),
    ] = "average"

    def __post_init__(self) -> None:
        LearningJob.__post_init__(self)
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
            "Evaluate actions that run at the same time.", words=AUTO, low=1, high=_MOST_WORKERS
        ),
    ] = None
    top_k: Annotated[
        int, Setting("Likeliest classes to report for each sample.", metavar="K", low=1)
    ] = 1

    def __post_init__(self) -> None:
        take_fields(self)
