"""`disdel infer`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from disdel.cli import options
from disdel.cli.output import JsonWriter, OutputFailed, both, check_json_target, print_table
from disdel.cli.reading import auto_or_number, read_settings
from disdel.errors import UsageError
from disdel.types import Evaluation

if TYPE_CHECKING:
    from disdel.controller.infer import Inferred
    from disdel.controller.predictions import NumberPredictions, Prediction, Predictions

# Of the user's samples; a file given with --predictions has them all.
_ROWS_SHOWN = 20

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="RUN|PATH", help="A run, or its model's file; else the newest run's."
    ),
]
ModelCodeOption = Annotated[
    str | None,
    typer.Option(
        "--model-code",
        metavar="FILE.py:FUNCTION",
        help="The code of a network of your own whose file was moved away from its run.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run code that comes with the model, though no training of yours has used it.",
    ),
]
InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="FILE.npz|.csv|.png|DIR",
        help="Samples to predict, instead of evaluating the held-out split.",
    ),
]
Workers = Annotated[
    str, typer.Option("--workers", metavar="auto|N", help="Evaluate actions at the same time.")
]
TopK = Annotated[int, typer.Option("--top-k", metavar="K", help="Guesses of each sample.")]
PredictionsOption = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE.csv|.json",
        help="Write the prediction of every sample there.",
        rich_help_panel="Output",
    ),
]


def infer_command(
    dataset: options.Dataset,
    model: ModelOption = None,
    model_code: ModelCodeOption = None,
    trust_code: TrustCode = False,
    input: InputOption = None,  # noqa: A002 - the option's name
    workers: Workers = "auto",
    top_k: TopK = 1,
    memory_max: options.MemoryMax = None,
    pool_memory: options.PoolMemory = None,
    timeout_max: options.TimeoutMax = None,
    limits: options.PlatformLimits = "roomy",
    optimize: options.Optimize = "time",
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    insecure: options.Insecure = False,
    redis: options.Redis = None,
    patience_network: options.PatienceNetwork = None,
    image_prefix: options.ImagePrefix = None,
    image_tag: options.ImageTag = None,
    action_env: options.ActionEnv = None,
    data_dir: options.DataDir = None,
    run_dir: options.RunDir = None,
    keep: options.Keep = False,
    predictions: PredictionsOption = None,
    json: options.JsonFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate the ensemble model of a data set, or predict for new samples."""
    from disdel.api import run_infer
    from disdel.controller.infer import InferJob
    from disdel.controller.predictions import check_predictions_target, write_predictions
    from disdel.report.views import choose_view

    settings = read_settings(
        memory_max=memory_max,
        pool_memory=pool_memory,
        timeout_max=timeout_max,
        limits=limits,
        optimize=optimize,
        apihost=apihost,
        auth=auth,
        insecure=insecure,
        redis=redis,
        patience_network=patience_network,
        image_prefix=image_prefix,
        image_tag=image_tag,
        action_env=action_env,
        data_dir=data_dir,
        run_dir=run_dir,
        keep=keep,
    )
    check_json_target(json)
    check_predictions_target(predictions)
    job = InferJob(
        dataset=dataset,
        model=model,
        model_code=model_code,
        trust_code=trust_code,
        input=input,
        workers=auto_or_number("--workers", workers),
        top_k=top_k,
    )
    writer = JsonWriter(json)
    with choose_view(quiet=quiet) as view:
        inferred = run_infer(job, settings, both(view, writer))
    told = _draw(inferred)
    if predictions is not None:
        try:
            write_predictions(predictions, inferred.predictions)
        except UsageError as error:
            kept = inferred.folder.path / f"predictions{predictions.suffix}"
            write_predictions(kept, inferred.predictions)
            raise OutputFailed(f"{error}. The predictions are in {kept}") from error
        told.append(f"        {predictions}")
    writer.finish()
    if not quiet:
        for line in told:
            typer.echo(line)
        if input is not None:
            _print_predictions(inferred.predictions)


def _draw(inferred: Inferred) -> list[str]:
    """Draw the confusion matrix into the run's folder, and say where it is or what is missing."""
    from disdel.report.confusion import can_draw, draw_confusion

    report = inferred.report
    if not isinstance(report.evaluation, Evaluation):
        return []
    if not can_draw():
        return ["        no confusion.png: pip install 'disdel[plot]' draws it"]
    path = inferred.folder.confusion
    samples = sum(score.samples for score in report.evaluation.classes)
    title = f"{report.dataset}, {samples} samples, accuracy {report.accuracy:.4f}"
    try:
        draw_confusion(report.evaluation, title, path)
    except OSError as error:
        return [f"        no confusion.png: {path} cannot be written ({error.strerror or error})"]
    return [f"        {path}"]


def _print_predictions(predictions: Predictions | NumberPredictions) -> None:
    from disdel.controller.predictions import Predictions

    if isinstance(predictions, Predictions):
        known = predictions.labels is not None
        headings = ["input", "class", "probability", *(["true"] if known else [])]
        if predictions.top_k > 1:
            headings.append("then")
        print_table(headings, [_row(entry) for entry in islice(predictions, _ROWS_SHOWN)])
    else:
        headings, *rows = islice(predictions.table(), 1 + _ROWS_SHOWN)
        print_table(headings, rows)
    if (hidden := len(predictions) - _ROWS_SHOWN) > 0:
        typer.echo(f"and {hidden} more: --predictions FILE.csv writes them all")


def _row(entry: Prediction) -> list[str]:
    best, *others = entry.guesses
    row = [entry.input, best.name, f"{best.probability:.4f}"]
    if entry.true is not None:
        row.append(entry.true)
    if others:
        row.append(", ".join(f"{guess.name} {guess.probability:.4f}" for guess in others))
    return row
