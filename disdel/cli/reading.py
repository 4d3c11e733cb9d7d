"""What the options of a command mean: a job, and settings of the library."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from operator import attrgetter
from pathlib import Path
from typing import cast, get_args

from disdel.config import patience_network_s
from disdel.controller.settings import LimitsName, Settings
from disdel.errors import UsageError
from disdel.types import (
    Aims,
    Average,
    EstimatorName,
    Limits,
    Objective,
    OptimizerState,
    Precision,
    RateScale,
    RateSchedule,
    RateShape,
    RuntimeName,
    Sync,
    TrainJob,
    Validation,
    WorkersPolicy,
)


def read_job(
    *,
    dataset: str,
    batch: int,
    epochs: int,
    workers: str,
    sync: str,
    fan_in: str,
    model: str,
    runtime: str,
    optimizer: str | None,
    learning_rate: float | None,
    seed: int,
    precision: str = "float32",
    average: str = "samples",
    optimizer_state: str = "average",
    schedule: str = "constant",
    warmup: float = 0.0,
    scale_rate: str = "none",
    validate_every: int | None = None,
    target_accuracy: float | None = None,
    patience: int | None = None,
    workers_policy: str = "fixed",
    workers_max: int | None = None,
) -> TrainJob:
    """The options of a command as a job.

    Raises:
        UsageError: a value is out of range or no such thing.
    """
    return TrainJob(
        dataset=dataset,
        batch_size=batch,
        epochs=epochs,
        workers=auto_or_number("--workers", workers),
        sync=_sync(sync),
        fan_in=auto_or_number("--fan-in", fan_in),
        model=model,
        runtime=read_runtime(runtime),
        optimizer=optimizer,
        learning_rate=learning_rate,
        seed=seed,
        precision=cast(Precision, precision),
        average=cast(Average, average),
        optimizer_state=cast(OptimizerState, optimizer_state),
        rate_schedule=RateSchedule(
            shape=cast(RateShape, schedule), warmup=warmup, scale=cast(RateScale, scale_rate)
        ),
        validation=Validation(
            every=validate_every, target_accuracy=target_accuracy, patience=patience
        ),
        workers_policy=cast(WorkersPolicy, workers_policy),
        workers_max=workers_max,
    )


def read_runtime(text: str) -> RuntimeName | None:
    """`auto` is None.

    Raises:
        UsageError: no such runtime.
    """
    known = get_args(RuntimeName)
    if text not in ("auto", *known):
        raise UsageError(f"--runtime must be auto or {' or '.join(known)}, not {text!r}")
    return None if text == "auto" else cast(RuntimeName, text)


# Where a job keeps what an option says, if not under the option's own name.
_PLACES = {
    "batch": "batch_size",
    "schedule": "rate_schedule.shape",
    "warmup": "rate_schedule.warmup",
    "scale_rate": "rate_schedule.scale",
    "validate_every": "validation.every",
    "target_accuracy": "validation.target_accuracy",
    "patience": "validation.patience",
}
JOB_OPTIONS = tuple(inspect.signature(read_job).parameters)


def check_agrees(asked: TrainJob, before: TrainJob, given: Collection[str]) -> None:
    """Refuse options that contradict the job of a run that is resumed; only its epochs may change.

    Args:
        asked: the job of the command's options.
        before: the job of the run.
        given: the options of `read_job` that the user has given.

    Raises:
        UsageError: an option says something else than the run.
    """
    for option in given:
        value = attrgetter(_PLACES.get(option, option))
        # None is `auto`.
        if option != "epochs" and value(asked) not in (None, value(before)):
            name = "DATASET" if option == "dataset" else f"--{option.replace('_', '-')}"
            raise UsageError(
                f"{name} is {value(asked)}, and {value(before)} in the run to be resumed; only "
                "--epochs may change"
            )


def read_settings(
    *,
    memory_max: int | None = None,
    pool_memory: int | None = None,
    gpu_memory: str = "auto",
    timeout_max: float | None = None,
    limits: str = "roomy",
    apihost: str | None = None,
    auth: str | None = None,
    insecure: bool = False,
    redis: str | None = None,
    patience_network: float | None = None,
    image_prefix: str | None = None,
    image_tag: str | None = None,
    action_env: Sequence[str] | None = None,
    arch: str | None = None,
    data_dir: Path | None = None,
    run_dir: Path | None = None,
    keep: bool = False,
    optimize: str = "time",
    estimator: str = "measured",
    miss_rate: float = 1e-3,
) -> Settings:
    """The options of a command as the library's settings.

    Raises:
        UsageError: a limit is out of range, or the platform's limits have no such name.
    """
    if limits not in get_args(LimitsName):
        raise UsageError(f"--limits must be {' or '.join(get_args(LimitsName))}, not {limits!r}")
    return Settings(
        apihost=apihost,
        auth=auth,
        insecure=insecure,
        redis=redis,
        patience_network_s=patience_network_s(patience_network),
        image_prefix=image_prefix,
        image_tag=image_tag,
        action_env=tuple(action_env or ()),
        arch=arch,
        data_dir=data_dir,
        run_dir=run_dir,
        keep=keep,
        limits=Limits(
            memory_max_mb=memory_max,
            pool_memory_mb=pool_memory,
            gpu_memory_mb=_gpu_memory(gpu_memory),
            timeout_max_s=timeout_max,
        ),
        aims=Aims(
            optimize=cast(Objective, optimize),
            estimator=cast(EstimatorName, estimator),
            miss_rate=miss_rate,
        ),
        platform_limits=cast(LimitsName, limits),
    )


def auto_or_number(option: str, text: str) -> int | None:
    """`auto` is None.

    Raises:
        UsageError: neither `auto` nor a whole number.
    """
    return None if text == "auto" else _whole_number(option, text, "auto or a number")


def _gpu_memory(text: str) -> int | None:
    """`off` is 0, `auto` None."""
    if text in ("auto", "off"):
        return 0 if text == "off" else None
    return _whole_number("--gpu-memory", text, "auto, off or a number of MB")


def _sync(text: str) -> Sync:
    if text == "epoch":
        return "epoch"
    if text == "once":
        return "once"
    return _whole_number("--sync", text, "epoch, once or a number of steps")


def _whole_number(option: str, text: str, wanted: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{option} must be {wanted}, not {text!r}") from None
