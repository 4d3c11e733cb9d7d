"""What commands have beside the settings of what they do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from disdel.cli.declared import OUTPUT, Of
from disdel.settings import Settings
from disdel.types.setting import Setting

RunDir = Annotated[Path, Of(Settings, "run_dir")]
DataDir = Annotated[Path, Of(Settings, "data_dir")]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOutput:
    """Where the machine's form of a result goes."""

    json: Annotated[
        str | None, Setting("Write JSON to this file; - is stdout.", metavar="FILE", group=OUTPUT)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(JsonOutput):
    """What a command tells, and where."""

    quiet: Annotated[bool, Setting("No progress, no summary.", short="-q", group=OUTPUT)] = False
