"""What happens during a run, as data. The controller emits these; a renderer draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from disdel.errors import UsageError
from disdel.types import (
    Activation,
    DatasetSpec,
    FederateJob,
    InferPlan,
    Plan,
    RoundReport,
    RunReport,
    Split,
    TrainJob,
)
from disdel.types.flower import FlowerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """`federation` is what the user asked for where `job` stands for one."""

    run: str
    job: TrainJob
    dataset: DatasetSpec
    model: str
    plan: Plan
    federation: FederateJob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferPlanMade:
    """`samples` of the data set, or of its shape, go through the model file at `model`."""

    run: str
    dataset: DatasetSpec
    samples: int
    model: str
    model_bytes: int
    plan: InferPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerPlanned:
    """How the nodes of a Flower app are run; what is told of it is in the report's words."""

    run: str
    plan: FlowerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformReady:
    """`description` says where actions run and how memory limits are enforced there."""

    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStarted:
    """`first` of this controller: a run that is resumed begins with a later round.

    `scored_on` is the split on which rounds are scored; `has_clients` is whether clients are asked
    in them, of a federation.
    """

    round: int
    first: bool
    rounds: int
    workers: int
    scored_on: Split = "test"
    has_classes: bool = True
    has_clients: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProgress:
    """What a worker last said of itself; None where it has not said that yet."""

    worker: int
    state: str
    client: int | None = None
    round: int | None = None
    epoch: int | None = None
    step: int | None = None
    first_step: int | None = None
    last_step: int | None = None
    loss: float | None = None
    memory_mb: int | None = None
    limit_mb: int | None = None

    @classmethod
    def from_fields(cls, worker: int, fields: Mapping[str, object]) -> WorkerProgress:
        """From the JSON of the store; keys that are not known are left out."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(worker=worker, **known)  # type: ignore[arg-type]  # another release's JSON, shown as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationEnded:
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDone:
    """`remaining_s` is what the rounds that are left will take, by what this one took."""

    rounds: int
    report: RoundReport
    cold: int
    warm: int
    peak_mb: int
    remaining_s: float
    has_classes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something that a user should know and that is no error.

    `matters` is whether it is told also where progress is not: what is left, and what goes on.
    """

    message: str
    matters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    report: RunReport
    folder: str
    # Where the report is, if the folder did not take it; empty where it is nowhere.
    elsewhere: str | None = None


Event: TypeAlias = (
    PlanMade
    | InferPlanMade
    | FlowerPlanned
    | PlatformReady
    | RoundStarted
    | WorkerProgress
    | ActivationEnded
    | RoundDone
    | Noted
    | RunEnded
)
Listener: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Show nothing."""


def check_listener(listener: Any) -> None:
    """Refuse what cannot be called with an event, before there is one.

    Raises:
        UsageError: it cannot.
    """
    if not callable(listener):
        raise UsageError(
            f"listener must be a function that takes an event, not {listener!r}; leave it out for "
            "none"
        )
