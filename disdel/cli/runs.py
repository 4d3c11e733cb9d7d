"""`disdel runs list|show`, `disdel report` and `disdel logs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from disdel import config
from disdel.cli import options
from disdel.cli.output import check_json_target, print_table, write_json
from disdel.errors import UsageError

app = typer.Typer(help="Earlier runs: list, show.", no_args_is_help=True)

Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, or its beginning or end if that is enough."),
]


@app.command("list")
def list_command(run_dir: options.RunDir = None, json: options.JsonFile = None) -> None:
    """List the runs, newest first."""
    from disdel.controller.run_folder import run_folders

    check_json_target(json)
    reports = [folder.read_report() for folder in run_folders(config.run_dir(run_dir))]
    write_json(json, reports)
    if json != "-":
        print_table(
            ("run", "job", "data set", "status", "accuracy", "time"),
            [
                (
                    report["run"],
                    report["job"],
                    report["dataset"],
                    report["status"],
                    "" if report["accuracy"] is None else f"{report['accuracy']:.4f}",
                    f"{report['wall_s']:.1f} s",
                )
                for report in reports
            ],
        )


@app.command("show")
def show_command(run: Run, run_dir: options.RunDir = None, json: options.JsonFile = None) -> None:
    """Show one run: settings, plan, rounds and activations."""
    from disdel.controller.run_folder import find_run

    check_json_target(json)
    report = find_run(config.run_dir(run_dir), run).read_report()
    write_json(json, report)
    if json != "-":
        _print_report(report)


def _print_report(report: dict[str, Any]) -> None:
    typer.echo(f"run       {report['run']} ({report['job']} {report['dataset']})")
    typer.echo(f"status    {report['status']}, {report['wall_s']:.1f} s on {report['platform']}")
    if report["error"] is not None:
        typer.echo(f"error     {report['error']['kind']}: {report['error']['message']}")
    if report["accuracy"] is not None:
        typer.echo(f"accuracy  {report['accuracy']:.4f}, loss {report['loss']:.4f}")
    if report["model"] is not None:
        typer.echo(f"model     {report['model']}")
    given = {name: value for name, value in report["settings"].items() if value is not None}
    settings = ", ".join(f"{name} {value}" for name, value in given.items())
    typer.echo(f"settings  {settings}\n")
    columns = ("action", "task", "worker", "round", "memory_mb", "peak_mb", "start", "duration_ms")
    print_table(
        (*columns, "outcome", "activation"),
        [
            (
                *("-" if entry[name] is None else entry[name] for name in columns),
                entry["outcome"],
                entry["id"],
            )
            for entry in report["activations"]
        ],
    )


def report_command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE", help="A run's id (its beginning or end will do), or a report.json."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where the page goes; else beside the report, as .html.",
        ),
    ] = None,
    run_dir: options.RunDir = None,
) -> None:
    """Write a saved report as one HTML page: timeline, rounds, memory, plan."""
    from disdel.api import write_page
    from disdel.controller.run_folder import find_run

    file = Path(run)
    source = file if file.is_file() else find_run(config.run_dir(run_dir), run).report
    target = output or source.with_suffix(".html")
    write_page(source, target)
    typer.echo(str(target))


def logs_command(
    run: Run,
    worker: Annotated[
        int | None, typer.Option("--worker", metavar="N", help="Only this worker's.")
    ] = None,
    run_dir: options.RunDir = None,
) -> None:
    """Print the logs of a run's activations, each under its own heading."""
    from disdel.controller.run_folder import find_run

    folder = find_run(config.run_dir(run_dir), run)
    activations = folder.read_report()["activations"]
    workers = sorted({entry["worker"] for entry in activations} - {None})
    if worker is not None and worker not in workers:
        known = ", ".join(map(str, workers)) or "none"
        raise UsageError(f"run {folder.run} has no worker {worker}; its workers: {known}")
    for entry in activations:
        if worker is not None and entry["worker"] != worker:
            continue
        owner = "" if entry["worker"] is None else f" worker {entry['worker']}"
        typer.echo(
            f"== {entry['task']}{owner} round {entry['round']} segment {entry['segment']}: "
            f"{entry['outcome']}, {entry['duration_ms']} ms, {entry['start']}, {entry['id']}"
        )
        log = folder.log(worker=entry["worker"], activation_id=entry["id"])
        typer.echo(log.read_text(encoding="utf-8").rstrip() if log.is_file() else "(no log)")
