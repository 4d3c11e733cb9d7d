"""`disdel partition`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from disdel.cli.declared import OUTPUT, Given, Only, Worded
from disdel.cli.options import DataDir, Output
from disdel.cli.output import check_json_target, write_json
from disdel.errors import UsageError
from disdel.host.targets import check_all_differ, check_target
from disdel.types import FederateJob
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

# What decides who owns what: a split that is held out for decisions is nobody's.
Asked = Annotated[
    Given[FederateJob],
    Only({"dataset", "clients", "partition", "seed", "target_accuracy", "patience"}),
    Worded(
        seed="Seed of what is drawn to deal the samples, below 2^32.",
        target_accuracy="As the run will have it: some samples are then held out, and nobody's.",
        patience="As the run will have it, likewise.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Where a heat map goes.

    Raises:
        UsageError: a path is none.
    """

    html: Annotated[
        Path | None,
        Setting("Write a page with the heat map.", metavar="FILE", group=OUTPUT),
    ] = None
    png: Annotated[
        Path | None, Setting("Write the heat map as a picture.", metavar="FILE", group=OUTPUT)
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)


def partition_command(asked: Asked, data_dir: DataDir, pictures: Pictures, output: Output) -> None:
    """Show how a partition deals a data set to clients; run nothing."""
    from disdel.jobs import look_at_partition
    from disdel.report.confusion import can_draw
    from disdel.report.dealt_lines import dealt_lines
    from disdel.report.dealt_picture import write_dealt

    if "dataset" not in asked.values:
        raise UsageError("name a data set: disdel partition DATASET --clients N --partition NAME")
    check_all_differ({"--json": output.json, "--html": pictures.html, "--png": pictures.png})
    check_json_target(output.json)
    for flag, path in (("--html", pictures.html), ("--png", pictures.png)):
        if path is not None:
            check_target(flag, path)
            if not can_draw():
                raise UsageError(f"{flag} needs matplotlib: pip install 'disdel[plot]'")
    dealt = look_at_partition(asked.made(), data_dir)
    if not output.quiet and output.json != "-":
        for line in dealt_lines(dealt):
            typer.echo(line)
    write_dealt(dealt, html=pictures.html, png=pictures.png)
    if output.json is not None:
        write_json(output.json, dealt.to_json(streamed=True))
