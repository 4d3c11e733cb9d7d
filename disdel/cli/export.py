"""`disdel export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from disdel.runtimes.registry import DEFAULT
from disdel.types.checks import take_fields
from disdel.types.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is written, and what an instance is to have.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    folder: Annotated[Path, Setting("A new folder.", metavar="DIR", argument=True)]
    platform: Annotated[
        Literal["functions-framework", "knative", "openfaas"],
        Setting("Whose tool deploys it.", in_environment=False),
    ]
    runtime: Annotated[
        str, Setting("What train actions compute with there.", in_environment=False)
    ] = DEFAULT.name
    memory_mb: Annotated[
        int, Setting("Memory of an instance.", low=256, high=65_536, in_environment=False)
    ] = 2048
    timeout_s: Annotated[
        int, Setting("Longest call.", low=1, high=86_400, in_environment=False)
    ] = 300
    instances: Annotated[
        int, Setting("Most instances at once.", low=1, high=10_000, in_environment=False)
    ] = 10

    def __post_init__(self) -> None:
        take_fields(self)


def export_command(asked: Export) -> None:
    """Write a folder that a platform's own tool deploys as a function, for --platform http."""
    from disdel.controller.invoking.exporting import export
    from disdel.platforms.http.exported import Limits
    from disdel.runtimes.registry import runtime_named

    limits = Limits(memory_mb=asked.memory_mb, timeout_s=asked.timeout_s, instances=asked.instances)
    files = export(asked.platform, asked.folder, limits, runtime_named(asked.runtime))
    typer.echo(f"{asked.folder}: {len(files)} files; {asked.folder / 'README.md'} deploys them")
