"""`disdel infer`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from disdel.cli.declared import OUTPUT, Without
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, OutputFailed, both, check_json_target, print_table
from disdel.errors import UsageError
from disdel.host.targets import check_all_differ
from disdel.platforms.base import Provider
from disdel.platforms.registry import chosen
from disdel.settings import Settings
from disdel.settings.read_options import TableOptions
from disdel.settings.settings import NOT_OF_INFER
from disdel.types import Evaluation, InferJob
from disdel.types.setting import Setting

if TYPE_CHECKING:
    from disdel.controller.inference.infer import Inferred
    from disdel.controller.inference.predictions import NumberPredictions, Prediction, Predictions

# Of the user's samples; a file given with --predictions has them all.
_ROWS_SHOWN = 20

InferSettings = Annotated[Settings, Without(NOT_OF_INFER)]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOutput(Output):
    """What is told of an inference, and where."""

    predictions: Annotated[
        Path | None,
        Setting(
            "Write the prediction for every sample to this file.",
            metavar="FILE.csv|.json|.npz",
            group=OUTPUT,
        ),
    ] = None


def infer_command(
    job: InferJob, table: TableOptions, settings: InferSettings, output: InferOutput
) -> None:
    """Score the model of a data set on its test split, or predict new samples."""
    check_all_differ(
        {
            "--model": job.model,
            "--input": job.input,
            "--json": output.json,
            "--predictions": output.predictions,
        }
    )
    check_json_target(output.json)
    # What infers is imported while the platform starts.
    with chosen(settings).ahead(settings) as provider:
        _run(job, table, settings, output, provider)


def _run(
    job: InferJob, table: TableOptions, settings: Settings, output: InferOutput, provider: Provider
) -> None:
    from disdel.controller.inference.predictions import check_predictions_target, write_predictions
    from disdel.jobs import run_infer
    from disdel.report.views import choose_view

    predictions = output.predictions
    check_predictions_target(predictions)
    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        inferred = run_infer(job, settings, both(view, writer), table=table, provider=provider)
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
    if not output.quiet:
        for line in told:
            typer.echo(line)
        if job.input is not None:
            _print_predictions(inferred.predictions, predictions)


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


def _print_predictions(predictions: Predictions | NumberPredictions, file: Path | None) -> None:
    from disdel.controller.inference.predictions import Predictions

    if isinstance(predictions, Predictions):
        known = predictions.labels is not None
        placed = ["place"] if predictions.probabilities.ndim > 2 else []
        headings = ["input", *placed, "class", "probability", *(["true"] if known else [])]
        if predictions.top_k > 1:
            headings.append("then")
        print_table(headings, [_row(entry) for entry in islice(predictions, _ROWS_SHOWN)])
    else:
        headings, *rows = islice(predictions.table(), 1 + _ROWS_SHOWN)
        print_table(headings, rows)
    if (hidden := len(predictions) - _ROWS_SHOWN) > 0:
        where = "--predictions FILE.csv writes them all" if file is None else f"all are in {file}"
        typer.echo(f"and {hidden} more: {where}")


def _row(entry: Prediction) -> list[str]:
    best, *others = entry.guesses
    place = [" ".join(map(str, entry.place))] if entry.place else []
    row = [entry.input, *place, best.name, f"{best.probability:.4f}"]
    if entry.true is not None:
        row.append(entry.true)
    if others:
        row.append(", ".join(f"{guess.name} {guess.probability:.4f}" for guess in others))
    return row
