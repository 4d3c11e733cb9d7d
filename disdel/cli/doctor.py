"""`disdel doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from disdel.cli.declared import Given, Only, Without
from disdel.platforms.registry import chosen
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
    if parts := chosen(settings).parts(settings):
        typer.echo(
            f"note  of {len(parts)} endpoints one was looked into; `disdel fabric check FILE` "
            "looks into each"
        )
    if failed:
        raise typer.Exit(1)
