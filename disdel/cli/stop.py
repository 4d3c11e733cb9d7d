"""`disdel stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from disdel.cli.declared import Only
from disdel.cli.runs import Run
from disdel.settings import Settings

Reached = Annotated[Settings, Only({"run_dir", "auth", "patience_network"})]


def stop_command(
    run: Run,
    settings: Reached,
    forget: Annotated[
        bool, typer.Option("--forget", help="Give up what is on servers that do not answer.")
    ] = False,
) -> None:
    """Stop a run on this machine, as Ctrl-C does, and remove what it has created."""
    from disdel.jobs import stop

    typer.echo(stop(run, settings, forget=forget))
