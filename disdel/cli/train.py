"""`disdel train`."""

from __future__ import annotations

from typing import Annotated

import typer

from disdel.cli.declared import Given
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.cli.resuming import check_resumed
from disdel.errors import UsageError
from disdel.settings import Settings
from disdel.types import TrainJob

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
        check_resumed(asked, resumed.began_as, "epochs")
        job = resumed.job(asked.values.get("epochs"))
    elif "dataset" in asked.values:
        resumed, job = None, asked.made()
    else:
        raise UsageError("name a data set, or a run with --resume RUN")
    check_json_target(output.json)
    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        run_train(job, settings, both(view, writer), resumed=resumed)
    writer.finish()
