"""`disdel doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from disdel.cli.declared import Given, Only, Without
from disdel.settings import Settings
from disdel.types import TrainJob

Runtime = Annotated[Given[TrainJob], Only({"runtime"})]
CheckedSettings = Annotated[
    Settings,
    Without(
        {
            *("memory_max", "pool_memory", "gpu_memory", "timeout_max"),
            *("optimize", "estimator", "miss_rate", "arch", "keep"),
        }
    ),
]


def doctor_command(asked: Runtime, settings: CheckedSettings) -> None:
    """Check what a run needs, and say what to change."""
    from disdel.controller.planning.checks import run_checks

    failed = False
    for check in run_checks(settings, asked.values.get("runtime")):
        failed = failed or not check.ok
        typer.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:19} {check.detail}")
    if settings.fabric is not None:
        typer.echo(
            f"note  one endpoint was looked into; disdel fabric check {settings.fabric} does each"
        )
    if failed:
        raise typer.Exit(1)
