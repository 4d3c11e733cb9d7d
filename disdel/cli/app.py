"""The commands of `disdel`, one module each."""

from __future__ import annotations

import os
from typing import Annotated

import typer

import disdel
from disdel.cli import (
    calibrate,
    dataset,
    doctor,
    export,
    fabric,
    federate,
    flower,
    infer,
    memory_agent,
    partition,
    plan,
    platform,
    runs,
    stop,
    train,
)
from disdel.cli.commands import Commands
from disdel.cli.variables import misnamed
from disdel.host.streams import say

app = Commands(
    name="disdel",
    help="Deep-learning training that survives serverless memory and time limits.",
    invoke_without_command=True,
    add_completion=False,
    # Errors are told by `disdel.__main__`, in a sentence.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("train", takes_file=True)(train.train_command)
app.command("federate", takes_file=True)(federate.federate_command)
app.command("flower")(flower.flower_command)
app.command("infer")(infer.infer_command)
app.command("plan")(plan.plan_command)
app.command("partition")(partition.partition_command)
app.command("calibrate")(calibrate.calibrate_command)
app.add_typer(dataset.app, name="dataset")
app.add_typer(runs.app, name="runs")
app.command("stop")(stop.stop_command)
app.command("report")(runs.report_command)
app.command("logs")(runs.logs_command)
app.add_typer(platform.app, name="platform")
app.add_typer(fabric.app, name="fabric")
app.command("doctor")(doctor.doctor_command)
app.command("export")(export.export_command)
app.command("memory-agent")(memory_agent.memory_agent_command)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    if debug:
        os.environ["DISDEL_DEBUG"] = "1"
    if version:
        typer.echo(f"disdel {disdel.__version__}")
        raise typer.Exit
    for sentence in misnamed():
        say(f"note    {sentence}")
