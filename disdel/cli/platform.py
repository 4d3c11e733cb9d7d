"""`disdel platform up|status|down`."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from disdel.cli.commands import Commands
from disdel.cli.options import JsonOutput
from disdel.cli.output import check_json_target, write_json
from disdel.platforms.embedded.finding import (
    PlatformInfo,
    platform_down,
    platform_status,
    platforms_elsewhere,
)
from disdel.platforms.embedded.launching import platform_up, start_embedded
from disdel.platforms.embedded.limits import check_sizes
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.settings import declared

app = Commands(help="The embedded platform, for longer than one run.")


@app.command("up")
def up_command(
    chosen: EmbeddedOptions,
    output: JsonOutput,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until Ctrl-C instead of the background.")
    ] = False,
) -> None:
    """Start it and print how to reach it, in the form of ~/.wskprops.

    While it runs, `disdel train` and the other commands use it.
    """
    check_json_target(output.json)
    check_sizes(chosen)
    if not foreground:
        _announce(platform_up(chosen), output.json)
        return
    with start_embedded(chosen, shared=True) as platform:
        _announce(platform.info, output.json)
        platform.wait()


@app.command("status")
def status_command(output: JsonOutput) -> None:
    """Say whether one is running, and how to reach it."""
    check_json_target(output.json)
    info = platform_status()
    if info is None:
        write_json(output.json, None)
        if output.json != "-":
            typer.echo("no platform is running; `disdel platform up` starts one")
            _tell_elsewhere()
        return
    _announce(info, output.json)


@app.command("down")
def down_command() -> None:
    """Stop it, its containers included."""
    stopped = platform_down()
    if stopped is None:
        typer.echo("no platform was running")
        _tell_elsewhere()
    else:
        typer.echo(f"stopped the platform at {stopped.access.apihost}")


@app.command("options")
def options_command() -> None:
    """List the options that each platform alone has, for --platform-option.

    Their variables count where the command line says nothing.
    """
    from disdel.platforms.registry import names, provider_of

    for name in names():
        options = () if (cls := provider_of(name).options) is None else declared(cls)
        typer.echo(f"{name}{'' if options else ': none'}")
        for option in options:
            default = f" [default: {option.shown_default}]" if option.shown_default else ""
            typer.echo(f"  {option.name}={option.metavar}{default}  {', '.join(option.variables)}")
            typer.echo(textwrap.indent(textwrap.fill(option.setting.help, 90), " " * 6))


def _tell_elsewhere() -> None:
    for place in platforms_elsewhere():
        typer.echo(
            f"one may run as {place}, where only its own host or container can see it: "
            "use and stop it there"
        )


def _announce(info: PlatformInfo, json: str | None) -> None:
    write_json(
        json,
        {
            "apihost": info.access.apihost,
            "auth": info.access.auth,
            "pid": info.pid,
            "limits": info.limits,
            "user_memory_mb": info.user_memory_mb,
            "enforcement": info.enforcement,
            "isolation": info.isolation,
            "namespaces": dict(info.namespaces),
        },
        secret=True,
    )
    if json != "-":
        typer.echo(
            f"# {info.limits} limits, {info.user_memory_mb} MB for containers, memory enforced by "
            f"{info.enforcement}, in {info.isolation}, process {info.pid}\n"
            f"APIHOST={info.access.apihost}\nAUTH={info.access.auth}"
        )
        for name, key in info.namespaces.items():
            typer.echo(f"# namespace {name}: AUTH={key}")
