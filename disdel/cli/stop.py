"""`disdel stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from disdel.cli import options
from disdel.cli.reading import read_settings
from disdel.cli.runs import Run


def stop_command(
    run: Run,
    run_dir: options.RunDir = None,
    auth: options.Auth = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Give up what is on servers that do not answer.")
    ] = False,
    patience_network: options.PatienceNetwork = None,
) -> None:
    """Stop a run on this machine as Ctrl-C does, and remove what it has created."""
    from disdel.api import stop

    settings = read_settings(run_dir=run_dir, auth=auth, patience_network=patience_network)
    typer.echo(stop(run, settings, forget=forget))
