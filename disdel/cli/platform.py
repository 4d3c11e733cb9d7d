"""`disdel platform up|status|down`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from disdel.cli import options
from disdel.cli.commands import Commands
from disdel.cli.output import check_json_target, write_json
from disdel.cli.reading import read_settings
from disdel.platforms.embedded import (
    EmbeddedOptions,
    PlatformInfo,
    platform_down,
    platform_status,
    platform_up,
    platforms_elsewhere,
    start_embedded,
)
from disdel.platforms.embedded_sizes import check_sizes

_DEFAULT = EmbeddedOptions()

app = Commands(help="The embedded platform, for longer than one run.")


@app.command("up")
def up_command(
    limits: options.PlatformLimits = "roomy",
    user_memory: Annotated[
        int | None,
        typer.Option(
            "--user-memory", min=1, metavar="MB", help="Memory of all containers together."
        ),
    ] = None,
    prewarm: Annotated[
        list[str] | None,
        typer.Option(
            "--prewarm",
            metavar="KIND_OR_IMAGE:MB:COUNT",
            help="Keep so many containers started; may be repeated.",
        ),
    ] = None,
    grow_to: Annotated[
        int,
        typer.Option(
            "--grow-to",
            min=0,
            metavar="MB",
            help="Raise the limit of a container that is about to reach it, up to this; 0: never.",
        ),
    ] = 0,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Keep actions, activations and the key there."),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            metavar="NAME",
            help="Have this one beside guest, with a key of its own; may be repeated.",
        ),
    ] = None,
    max_records: Annotated[
        int,
        typer.Option("--max-records", min=1, help="Activation records to keep, the newest ones."),
    ] = _DEFAULT.max_records,
    max_records_mb: Annotated[
        int,
        typer.Option("--max-records-mb", min=1, metavar="MB", help="Of all of them together."),
    ] = _DEFAULT.max_records_mb,
    max_entities_mb: Annotated[
        int,
        typer.Option(
            "--max-entities-mb",
            min=1,
            metavar="MB",
            help="Of packages, actions with their code, triggers and rules together.",
        ),
    ] = _DEFAULT.max_entities_mb,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes a free one.")] = 0,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until Ctrl-C instead of the background.")
    ] = False,
    json: options.JsonFile = None,
) -> None:
    """Start it and print how to reach it, in the form of ~/.wskprops.

    While it runs, `disdel train` and the other commands use it.
    """
    check_json_target(json)
    profile = read_settings(limits=limits).platform_limits
    chosen = EmbeddedOptions(
        limits=profile,
        user_memory_mb=user_memory,
        port=port,
        state=state,
        prewarm=tuple(prewarm or ()),
        grow_to_mb=grow_to,
        namespaces=tuple(namespace or ()),
        max_records=max_records,
        max_records_mb=max_records_mb,
        max_entities_mb=max_entities_mb,
    )
    check_sizes(chosen)
    if not foreground:
        _announce(platform_up(chosen), json)
        return
    with start_embedded(chosen, shared=True) as platform:
        _announce(platform.info, json)
        platform.wait()


@app.command("status")
def status_command(json: options.JsonFile = None) -> None:
    """Say whether one is running, and how to reach it."""
    check_json_target(json)
    info = platform_status()
    if info is None:
        write_json(json, None)
        if json != "-":
            typer.echo("no platform is running; `disdel platform up` starts one")
            _tell_elsewhere()
        return
    _announce(info, json)


@app.command("down")
def down_command() -> None:
    """Stop it, its containers included."""
    stopped = platform_down()
    if stopped is None:
        typer.echo("no platform was running")
        _tell_elsewhere()
    else:
        typer.echo(f"stopped the platform at {stopped.access.apihost}")


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
