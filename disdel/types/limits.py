"""What a plan may use and what it is to be good at: the fields are options, as those of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.types.checks import take_fields
from disdel.types.names import EstimatorName, Objective
from disdel.types.setting import Setting

_MOST = 2**31
_LIMITS = "Limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the user allows beyond what the platform allows; None leaves it to the platform.

    `gpu_memory_mb` is 0 for no GPU.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    memory_max_mb: Annotated[
        int | None,
        Setting(
            "Most memory of an action.",
            low=1,
            high=_MOST,
            default="the platform's limit",
            group=_LIMITS,
        ),
    ] = None
    pool_memory_mb: Annotated[
        int | None,
        Setting(
            "Most memory of all containers.",
            low=1,
            high=_MOST,
            default="the platform's limit",
            group=_LIMITS,
        ),
    ] = None
    gpu_memory_mb: Annotated[
        int | None,
        Setting(
            "GPU memory that the actions may use together, if they see a GPU.",
            words={"auto": None, "off": 0},
            low=0,
            high=_MOST,
            group=_LIMITS,
        ),
    ] = None
    timeout_max_s: Annotated[
        float | None,
        Setting(
            "Longest activation.",
            above=0,
            high=86_400,
            default="the platform's limit",
            group=_LIMITS,
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)


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

    optimize: Annotated[
        Objective,
        Setting(
            "What the plan minimises: predicted time, GB·s, or memory of all containers.",
            group=_LIMITS,
        ),
    ] = "time"
    estimator: Annotated[
        EstimatorName,
        Setting(
            "Estimate memory from measurements, or by the DISDEL thesis's formula.", group=_LIMITS
        ),
    ] = "measured"
    miss_rate: Annotated[
        float,
        Setting(
            "Share of containers that may need more than their estimate.",
            low=1e-6,
            high=0.5,
            group=_LIMITS,
        ),
    ] = 1e-3

    def __post_init__(self) -> None:
        take_fields(self)
