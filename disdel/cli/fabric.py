"""`disdel fabric check|deploy|remove`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from disdel.cli.commands import Commands
from disdel.cli.declared import Given, Only
from disdel.cli.doctor import CheckedSettings
from disdel.cli.options import JsonOutput
from disdel.cli.output import check_json_target, write_json
from disdel.settings import Settings
from disdel.types import TrainJob

app = Commands(help="Several platforms as one: the endpoints of a file.")

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The fabric file.")]
Runtime = Annotated[Given[TrainJob], Only({"runtime"})]


@app.command("check")
def check_command(
    file: File, asked: Runtime, settings: CheckedSettings, output: JsonOutput
) -> None:
    """Look at each endpoint from here and from inside its containers, and compare them."""
    from disdel.controller.planning.endpoint_checks import (
        check_endpoints,
        differences,
        store_of_runs,
    )

    check_json_target(output.json)
    found = check_endpoints(_at(file, settings), asked.values.get("runtime"))
    notes = [*store_of_runs(found, settings.store_address), *differences(found)]
    if output.json != "-":
        for one in found:
            typer.echo(f"{one.endpoint}{f' ({one.platform})' if one.platform else ''}")
            for check in one.checks:
                typer.echo(f"  {'ok  ' if check.ok else 'FAIL'}  {check.name:19} {check.detail}")
            if one.clock_offset_s is not None:
                typer.echo(f"  ok    {'clock':19} {one.clock_offset_s:+.1f} s")
        for note in notes:
            typer.echo(f"note    {note}")
    write_json(
        output.json,
        {
            "version": 1,
            "endpoints": [{**asdict(one), "ok": one.ok} for one in found],
            "notes": notes,
        },
    )
    if not all(one.ok for one in found):
        raise typer.Exit(1)


@app.command("deploy")
def deploy_command(file: File, settings: CheckedSettings, output: JsonOutput) -> None:
    """Make at each endpoint what runs find there, or say what is to be made there by hand."""
    from disdel.jobs import deploy_endpoints

    check_json_target(output.json)
    done = deploy_endpoints(_at(file, settings))
    if output.json != "-":
        for one in done:
            typer.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.name}: {one.detail}")
    write_json(
        output.json,
        {
            "version": 1,
            "endpoints": [
                {"endpoint": one.name, "ok": one.ok, "detail": one.detail} for one in done
            ],
        },
    )
    if not all(one.ok for one in done):
        raise typer.Exit(1)


@app.command("remove")
def remove_command(file: File, settings: CheckedSettings, output: JsonOutput) -> None:
    """Remove from the endpoints what runs have left there whose controllers are gone."""
    from disdel.jobs import clear_endpoints

    check_json_target(output.json)
    done = clear_endpoints(_at(file, settings))
    if output.json != "-":
        for one in done:
            typer.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.told}")
        if not done:
            typer.echo(f"no run in {settings.run_dir} has left anything on these endpoints")
    write_json(output.json, {"version": 1, "removed": [asdict(one) for one in done]})
    if not all(one.ok for one in done):
        raise typer.Exit(1)


def _at(file: Path, settings: Settings) -> Settings:
    return replace(settings, fabric=file)
