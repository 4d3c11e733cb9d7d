"""`disdel train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from disdel.cli.declared import Given
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.errors import UsageError
from disdel.settings import Settings, declared
from disdel.types import TrainJob

if TYPE_CHECKING:
    from disdel.controller.training.resuming import Resumed

Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Resume a run after its last complete round, with its settings and DATASET.",
        rich_help_panel="Rounds",
    ),
]


def train_command(
    asked: Given[TrainJob], settings: Settings, output: Output, resume: Resume = None
) -> None:
    """Train a network on a data set, sharded over actions that run at the same time."""
    from disdel.api import find_resumed, run_train
    from disdel.report.views import choose_view

    if resume is not None:
        resumed = find_resumed(resume, settings.run_dir)
        job = _resumed_job(asked, resumed)
    elif "dataset" in asked.values:
        resumed, job = None, asked.made()
    else:
        raise UsageError("name a data set, or a run with --resume RUN")
    check_json_target(output.json)
    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        run_train(job, settings, both(view, writer), resumed=resumed)
    writer.finish()


def _resumed_job(asked: Given[TrainJob], resumed: Resumed) -> TrainJob:
    """The job of a run, with more epochs if that is asked.

    Raises:
        UsageError: what is asked contradicts the run; only its epochs may change.
    """
    before = resumed.progress.job
    job = asked.made(dataset=before.dataset)
    for option in declared(TrainJob):
        now, then = option.value(job), option.value(before)
        # None is `auto`.
        if option.name in asked.values and option.name != "epochs" and now not in (None, then):
            raise UsageError(
                f"{asked.sources[option.name]} is {now}, and {then} in the run to be resumed; only "
                "--epochs may change"
            )
    return resumed.job(asked.values.get("epochs"))
