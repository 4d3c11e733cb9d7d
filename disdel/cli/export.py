"""`disdel export`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from disdel.platforms.exported import ORDINARY, Limits
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
        Literal["functions-framework", "knative", "openfaas", "lambda"],
        Setting("Whose tool deploys it.", in_environment=False),
    ]
    runtime: Annotated[
        str, Setting("What train actions compute with there.", in_environment=False)
    ] = DEFAULT.name
    memory_mb: Annotated[
        int | None,
        Setting(
            "Memory of an instance.",
            low=256,
            high=65_536,
            default=f"{ORDINARY.memory_mb}",
            in_environment=False,
        ),
    ] = None
    timeout_s: Annotated[
        int | None,
        Setting(
            "Longest call.",
            low=1,
            high=86_400,
            default=f"{ORDINARY.timeout_s}",
            in_environment=False,
        ),
    ] = None
    instances: Annotated[
        int | None,
        Setting(
            "Most instances at once.",
            low=1,
            high=10_000,
            default=f"{ORDINARY.instances}",
            in_environment=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def limits(self) -> Limits | None:
        """Of an instance; None where nothing is said of them."""
        said = {name: getattr(self, name) for name in ("memory_mb", "timeout_s", "instances")}
        given = {name: value for name, value in said.items() if value is not None}
        return replace(ORDINARY, **given) if given else None


def export_command(asked: Export) -> None:
    """Write what a platform's own tool deploys: a function for --platform http, or images."""
    from disdel.controller.invoking.exporting import export
    from disdel.runtimes.registry import runtime_named

    files = export(asked.platform, asked.folder, runtime_named(asked.runtime), asked.limits)
    typer.echo(f"{asked.folder}: {len(files)} files; {asked.folder / 'README.md'} deploys them")
