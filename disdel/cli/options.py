"""Options that several commands share, as they are written and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from disdel.catalog.models import MODEL_NAMES
from disdel.types import (
    Precision,
    RuntimeName,
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
ScaleRate = Annotated[
    str,
    typer.Option(
        "--scale-rate",
        metavar="none|sqrt|linear",
        help="How the learning rate grows with the workers.",
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
    int | None,
    typer.Option(
        "--validate-every",
        metavar="N",
        help="Rounds from one score on the held-out split to the next; by default 1, or more where "
        "the platform limits invocations.",
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
PatienceNetwork = Annotated[
    float | None,
    typer.Option(
        "--patience-network",
        metavar="SECONDS",
        help="How long platform and Redis are tried again when they fail; 60 by default.",
        rich_help_panel=_PLACE,
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
ActionEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--action-env",
        metavar="NAME=VALUE",
        help="A variable of the actions' environment; may be repeated.",
        rich_help_panel=_PLACE,
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="amd64|arm64",
        help="CPUs of its nodes, for compiled networks; both with a comma.",
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
