"""`disdel train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from disdel.cli.beginning import begun
from disdel.cli.declared import Given
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.cli.resuming import check_resumed
from disdel.errors import UsageError
from disdel.platforms.base import Provider
from disdel.settings import Settings
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
    check_json_target(output.json)
    if resume is not None:
        from disdel.jobs import find_resumed

        resumed = find_resumed(resume, settings.run_dir)
        check_resumed(asked, resumed.began_as, "epochs")
        _run(resumed.job(asked.values.get("epochs")), settings, output, resumed=resumed)
    elif "dataset" in asked.values:
        job = asked.made()
        with begun(job, settings) as provider:
            _run(job, settings, output, provider=provider)
    else:
        raise UsageError("name a data set, or a run with --resume RUN")


def _run(
    job: TrainJob,
    settings: Settings,
    output: Output,
    *,
    resumed: Resumed | None = None,
    provider: Provider | None = None,
) -> None:
    from disdel.jobs import run_train
    from disdel.report.views import choose_view

    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        run_train(job, settings, both(view, writer), resumed=resumed, provider=provider)
    writer.finish()
