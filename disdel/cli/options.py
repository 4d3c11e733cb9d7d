"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from operator import attrgetter
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from disdel.catalog.models import MODEL_NAMES
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
    RateSchedule,
    RateShape,
    RuntimeName,
    Sync,
    TrainJob,
    Validation,
    WorkersPolicy,
)

_PLACE = "Where it runs"
_LIMITS = "Limits"
_ROUNDS = "Rounds"
_OUTPUT = "Output"

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A data set (`disdel dataset list` shows some), or FILE.py:FUNCTION.",
    ),
]
OptionalDataset = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET",
        help="A data set: `disdel dataset list` shows some.",
        show_default="that of --resume",
    ),
]
Batch = Annotated[int, typer.Option("--batch", help="Samples of a training step.")]
Epochs = Annotated[int, typer.Option("--epochs", help="Passes over the data.")]
Workers = Annotated[
    str, typer.Option("--workers", metavar="auto|N", help="Train actions at the same time.")
]
SyncText = Annotated[
    str,
    typer.Option(
        "--sync",
        metavar="epoch|once|K",
        help="Average every epoch, once at the end, or every K steps.",
    ),
]
FanIn = Annotated[
    str,
    typer.Option("--fan-in", metavar="auto|N", help="Most parts that one action averages."),
]
Runtime = Annotated[
    str,
    typer.Option("--runtime", metavar="NAME", help=f"auto or {', '.join(get_args(RuntimeName))}."),
]
PrecisionText = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="|".join(get_args(Precision)),
        help="What training steps compute in; weights are float32.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|FILE.py:FUNCTION",
        help=f"auto, {', '.join(MODEL_NAMES)}, or your own.",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="NAME", help="adam, sgd, rmsprop, …; else your model's."),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", metavar="F", help="The optimizer's own by default."),
]
ScheduleText = Annotated[
    str,
    typer.Option(
        "--schedule",
        metavar="constant|cosine|linear",
        help="How the learning rate falls, from its warm-up to 0 at the end.",
        rich_help_panel=_ROUNDS,
    ),
]
Warmup = Annotated[
    float,
    typer.Option(
        "--warmup",
        metavar="STEPS|FRACTION",
        help="How long the learning rate rises first; below 1, a share of the run.",
        rich_help_panel=_ROUNDS,
    ),
]
AverageText = Annotated[
    str,
    typer.Option(
        "--average",
        metavar="samples|equal",
        help="What a worker's part weighs in an average.",
        rich_help_panel=_ROUNDS,
    ),
]
OptimizerStateText = Annotated[
    str,
    typer.Option(
        "--optimizer-state",
        metavar="reset|local|average",
        help="What becomes of the optimizers' state between rounds.",
        rich_help_panel=_ROUNDS,
    ),
]
ValidateEvery = Annotated[
    int,
    typer.Option(
        "--validate-every",
        metavar="N",
        help="Rounds from one score on the held-out split to the next.",
        rich_help_panel=_ROUNDS,
    ),
]
TargetAccuracy = Annotated[
    float | None,
    typer.Option(
        "--target-accuracy",
        metavar="F",
        help="Stop when a score reaches it.",
        rich_help_panel=_ROUNDS,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        metavar="N",
        help="Stop after N rounds without a lower held-out loss; the model is the best round's.",
        rich_help_panel=_ROUNDS,
    ),
]
WorkersPolicyText = Annotated[
    str,
    typer.Option(
        "--workers-policy",
        metavar="fixed|adapt",
        help="adapt: more workers while epochs get faster, else fewer.",
        rich_help_panel=_ROUNDS,
    ),
]
WorkersMax = Annotated[
    int | None,
    typer.Option(
        "--workers-max",
        metavar="N",
        help="Most workers with --workers-policy adapt.",
        rich_help_panel=_ROUNDS,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Go on after a run's last complete round, with its settings.",
        rich_help_panel=_ROUNDS,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of weights, shards and the order of samples.")]

MemoryMax = Annotated[
    int | None,
    typer.Option(
        "--memory-max", metavar="MB", help="Most memory of an action.", rich_help_panel=_LIMITS
    ),
]
PoolMemory = Annotated[
    int | None,
    typer.Option(
        "--pool-memory",
        metavar="MB",
        help="Most memory of all containers.",
        rich_help_panel=_LIMITS,
    ),
]
GpuMemory = Annotated[
    str,
    typer.Option(
        "--gpu-memory",
        metavar="auto|off|MB",
        help="Memory of the GPU that the actions share, if they see one.",
        rich_help_panel=_LIMITS,
    ),
]
TimeoutMax = Annotated[
    float | None,
    typer.Option("--timeout-max", metavar="S", help="Longest activation.", rich_help_panel=_LIMITS),
]
PlatformLimits = Annotated[
    str,
    typer.Option(
        "--limits",
        metavar="roomy|stock",
        help="Limits of the embedded platform: a roomy deployment's, or OpenWhisk's own.",
        rich_help_panel=_LIMITS,
    ),
]

Optimize = Annotated[
    str,
    typer.Option(
        "--optimize",
        metavar="time|cost|memory",
        help="What a plan makes least: predicted time, GB·s, or memory of all containers.",
        rich_help_panel=_LIMITS,
    ),
]
EstimatorOption = Annotated[
    str,
    typer.Option(
        "--estimator",
        metavar="measured|sap",
        help="Memory from measurements, or by the DISDEL thesis's formula.",
        rich_help_panel=_LIMITS,
    ),
]
MissRate = Annotated[
    float,
    typer.Option(
        "--miss-rate",
        metavar="F",
        help="Share of containers that may need more than their estimate.",
        rich_help_panel=_LIMITS,
    ),
]

ApiHost = Annotated[
    str | None,
    typer.Option(
        "--apihost",
        metavar="URL",
        help="An OpenWhisk; else ~/.wskprops, else the embedded platform.",
        rich_help_panel=_PLACE,
    ),
]
Auth = Annotated[
    str | None,
    typer.Option("--auth", metavar="KEY", help="Its key, uuid:secret.", rich_help_panel=_PLACE),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Do not check the API host's certificate.", rich_help_panel=_PLACE
    ),
]
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis", metavar="URL", help="Else a private one is started.", rich_help_panel=_PLACE
    ),
]
ImagePrefix = Annotated[
    str | None,
    typer.Option(
        "--image-prefix",
        metavar="TEXT",
        help="Before the runtime images' names: registry.example/team/.",
        rich_help_panel=_PLACE,
    ),
]
ImageTag = Annotated[
    str | None,
    typer.Option(
        "--image-tag",
        metavar="TAG",
        help="Of the runtime images; else disdel's version.",
        rich_help_panel=_PLACE,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="Prepared data sets (TFDS).", rich_help_panel=_PLACE
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", help="Reports and models.", rich_help_panel=_OUTPUT),
]
Keep = Annotated[
    bool,
    typer.Option("--keep", help="Leave package, actions and weights.", rich_help_panel=_OUTPUT),
]
JsonFile = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write JSON there; - is stdout.", rich_help_panel=_OUTPUT
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress, no summary.", rich_help_panel=_OUTPUT)
]


def train_job(
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
    validate_every: int = 1,
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
        runtime=parse_runtime(runtime),
        optimizer=optimizer,
        learning_rate=learning_rate,
        seed=seed,
        precision=cast(Precision, precision),
        average=cast(Average, average),
        optimizer_state=cast(OptimizerState, optimizer_state),
        rate_schedule=RateSchedule(shape=cast(RateShape, schedule), warmup=warmup),
        validation=Validation(
            every=validate_every, target_accuracy=target_accuracy, patience=patience
        ),
        workers_policy=cast(WorkersPolicy, workers_policy),
        workers_max=workers_max,
    )


def parse_runtime(text: str) -> RuntimeName | None:
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
    "validate_every": "validation.every",
    "target_accuracy": "validation.target_accuracy",
    "patience": "validation.patience",
}
JOB_OPTIONS = tuple(inspect.signature(train_job).parameters)


def check_agrees(asked: TrainJob, before: TrainJob, given: Collection[str]) -> None:
    """Refuse options that contradict the job of a run that is resumed; only its epochs may change.

    Args:
        asked: the job of the command's options.
        before: the job of the run.
        given: the options of `train_job` that the user has given.

    Raises:
        UsageError: an option says something else than the run.
    """
    for option in given:
        value = attrgetter(_PLACES.get(option, option))
        # None is `auto`.
        if option != "epochs" and value(asked) not in (None, value(before)):
            name = option.replace("_", "-")
            raise UsageError(
                f"--{name} is {value(asked)}, and {value(before)} in the run to be resumed; only "
                "--epochs may change"
            )


def settings(
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
    image_prefix: str | None = None,
    image_tag: str | None = None,
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
        image_prefix=image_prefix,
        image_tag=image_tag,
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
