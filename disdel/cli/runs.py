"""`disdel runs list|show|compare|prune`, `disdel report` and `disdel logs`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from disdel.cli.commands import Commands
from disdel.cli.options import JsonOutput, RunDir
from disdel.cli.output import check_json_target, print_table, write_json
from disdel.errors import UsageError
from disdel.host.targets import check_all_differ, check_target
from disdel.settings import run_dir as default_run_dir
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from disdel.types.words import counted

if TYPE_CHECKING:
    from disdel.controller.runs.run_folder import RunFolder
    from disdel.types import Activation, RoundReport, RunReport

app = Commands(help="Earlier runs: list, show, compare, prune.")

Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, or its beginning or end if that is enough."),
]


@app.command("list")
def list_command(run_dir: RunDir, output: JsonOutput) -> None:
    """List the runs, newest first."""
    from disdel.controller.runs.run_folder import run_folders
    from disdel.types.report_json import report_to_json

    check_json_target(output.json)
    _check_there(run_dir)
    reports = []
    for folder in run_folders(run_dir):
        try:
            reports.append(folder.read_report())
        except UsageError as error:
            typer.echo(f"left out {folder.run}: {error}", err=True)
    write_json(output.json, [report_to_json(report) for report in reports])
    if output.json != "-":
        print_table(
            ("run", "job", "data set", "status", "accuracy", "time"),
            [
                (
                    report.run,
                    report.job,
                    report.dataset,
                    _status(report),
                    "" if report.accuracy is None else f"{report.accuracy:.4f}",
                    f"{report.wall_s:.1f} s",
                )
                for report in reports
            ],
        )


def _check_there(folder: Path) -> None:
    """Refuse a run directory that is none; the one that runs will be in may not be there yet.

    Raises:
        UsageError: it is.
    """
    if not folder.is_dir() and (folder.exists() or folder != default_run_dir()):
        why = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"--run-dir {folder} {why}: name the folder that the runs are in")


def _status(report: RunReport) -> str:
    """How a run has ended, in a word."""
    return "interrupted" if _was_interrupted(report) else report.status


def _was_interrupted(report: RunReport) -> bool:
    return report.error is not None and report.error.kind == "interrupted"


def _resuming(report: RunReport, folder: RunFolder) -> str | None:
    """The command that takes up a run which was cut off; None where there is none."""
    if report.job == "infer" or not (report.status == "lost" or _was_interrupted(report)):
        return None
    from disdel.controller.training.resuming import read_resumed

    try:
        read_resumed(folder)
    except UsageError:
        return None
    place = folder.path.parent
    where = "" if place == default_run_dir() else f" --run-dir {shlex.quote(str(place))}"
    return f"disdel {report.job} --resume {folder.run}{where}"


@app.command("show")
def show_command(run: Run, run_dir: RunDir, output: JsonOutput) -> None:
    """Show one run: settings, plan, splits, rounds and activations."""
    from disdel.controller.runs.run_folder import find_run
    from disdel.types.report_json import report_to_json

    check_json_target(output.json)
    folder = find_run(run_dir, run)
    report = folder.read_report()
    write_json(output.json, report_to_json(report))
    if output.json != "-":
        _print_report(report, _resuming(report, folder))


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Ids, or enough of each.")
    ],
    run_dir: RunDir,
    output: JsonOutput,
) -> None:
    """Show runs side by side: results, and the settings that differ."""
    from disdel.controller.runs.run_folder import find_run

    check_json_target(output.json)
    if len(runs) < 2:
        raise UsageError("name at least two runs to compare")
    reports = [find_run(run_dir, run).read_report() for run in runs]
    differing = _differing(reports)
    columns = [
        _facts(report) | {"settings": {name: report.settings.get(name) for name in differing}}
        for report in reports
    ]
    write_json(output.json, columns)
    if output.json != "-":
        rows = [column | column.pop("settings") for column in columns]
        without = {n for n in _OF_FEDERATIONS if all(row[n] is None for row in rows)}
        names = [name for name in rows[0] if name != "run" and name not in without]
        print_table(
            ("", *(row["run"] for row in rows)),
            [(name, *("-" if row[name] is None else row[name] for row in rows)) for name in names],
        )


def _facts(report: RunReport) -> dict[str, Any]:
    """What is compared of every run, whatever it did."""
    totals = report.totals
    peaks = [entry.peak_mb for entry in report.activations if entry.peak_mb is not None]
    return {
        "run": report.run,
        "job": report.job,
        "dataset": report.dataset,
        "status": report.status,
        "accuracy": report.accuracy,
        "loss": report.loss,
        "rounds": len(report.rounds),
        "rounds_to_target": report.rounds_to_target,
        "clients_accuracy": _of_clients(report, "mean"),
        "worst_tenth_accuracy": _of_clients(report, "worst_tenth"),
        "wall_s": report.wall_s,
        "gb_s": None if totals is None else totals.gb_s,
        "containers": None if totals is None else totals.containers,
        "failed": None if totals is None else totals.failed,
        "peak_mb": max(peaks, default=None),
    }


# Rows that a table of other runs is without.
_OF_FEDERATIONS = ("rounds_to_target", "clients_accuracy", "worst_tenth_accuracy")


def _of_clients(report: RunReport, name: str) -> float | None:
    """A figure of the accuracies on clients' own samples, of a federation that was asked for it."""
    scores = report.client_scores
    if scores is None or scores.accuracy is None:
        return None
    figure: float = getattr(scores.accuracy, name)
    return figure


def _differing(reports: list[RunReport]) -> list[str]:
    """The settings that are not the same in all reports, in their order."""
    names = dict.fromkeys(name for report in reports for name in report.settings)
    first = reports[0].settings
    return [
        name
        for name in names
        if any(report.settings.get(name) != first.get(name) for report in reports)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Which runs are deleted; all that is said must apply.

    Raises:
        UsageError: a number is below 0.
    """

    keep: Annotated[int | None, Setting("Keep the newest N runs.", low=0)] = None
    older_than: Annotated[
        float | None, Setting("Only runs that ended this many days ago.", metavar="DAYS", low=0)
    ] = None
    failed: Annotated[bool, Setting("Only failed runs; those that can be resumed are kept.")] = (
        False
    )

    def __post_init__(self) -> None:
        take_fields(self)


@app.command("prune")
def prune_command(pruned: Pruned, run_dir: RunDir) -> None:
    """Delete the folders of runs that match all options; never one that is running."""
    from disdel.controller.runs.lease import RunTaken
    from disdel.controller.runs.places import read_places
    from disdel.controller.runs.run_folder import run_folders

    if pruned == Pruned():
        raise UsageError("say which runs: --keep N, --older-than DAYS, --failed, or several")
    _check_there(run_dir)
    ended = [folder for folder in run_folders(run_dir) if not folder.is_running]
    for place, folder in enumerate(ended):
        if pruned.keep is not None and place < pruned.keep:
            continue
        if pruned.older_than is not None and folder.age_s() < pruned.older_than * 86_400:
            continue
        if pruned.failed:
            try:
                report = folder.read_report()
            except UsageError as error:
                typer.echo(f"kept {folder.run}, since nobody knows how it ended: {error}", err=True)
                continue
            if report.status == "ok":
                continue
            if (resuming := _resuming(report, folder)) is not None:
                typer.echo(
                    f"kept {folder.run}, which was cut off and goes on with {resuming}; "
                    "--keep and --older-than delete such runs, too",
                    err=True,
                )
                continue
        if has_left := read_places(folder.path):
            where = ", ".join(str(place) for place in has_left)
            typer.echo(
                f"kept {folder.run}, which has left something at {where}: "
                f"disdel stop {folder.run} removes it",
                err=True,
            )
            continue
        try:
            folder.remove()
        except RunTaken:
            continue  # It was taken up again.
        typer.echo(f"removed {folder.run}")


def _print_report(report: RunReport, resuming: str | None) -> None:
    from disdel.report.lines import client_lines
    from disdel.report.plan_lines import sizes_of

    typer.echo(f"run       {report.run} ({report.job} {report.dataset})")
    typer.echo(f"status    {_status(report)}, {report.wall_s:.1f} s on {report.platform}")
    if report.error is not None:
        typer.echo(f"error     {report.error.kind}: {report.error.message}")
    if resuming is not None:
        typer.echo(f"resume    {resuming}")
    loss = None if report.loss is None else f"{report.loss:.4f}"
    if report.accuracy is not None:
        typer.echo(f"accuracy  {report.accuracy:.4f}, loss {loss or '-'}")
    elif loss is not None:
        typer.echo(f"loss      {loss}")
    if report.rounds_to_target is not None:
        typer.echo(f"target    reached in round {report.rounds_to_target}")
    if report.client_scores is not None:
        first, *others = (line.strip() for line in client_lines(report.client_scores))
        typer.echo(f"clients   {first}")
        for line in others:
            typer.echo(f"          {line}")
    if report.model is not None:
        typer.echo(f"model     {report.model}")
    given = {name: value for name, value in report.settings.items() if value is not None}
    settings = ", ".join(f"{name} {value}" for name, value in given.items())
    typer.echo(f"settings  {settings}")
    if (plan := report.plan) is not None:
        of = "" if plan.runtime is None else f"{plan.runtime} "
        typer.echo(
            f"plan      {plan.workers} {of}worker{'s' * (plan.workers > 1)} × {sizes_of(plan)} MB, "
            f"{plan.rounds} round{'s' * (plan.rounds > 1)}, about {plan.predicted_s:g} s and "
            f"{plan.gb_s:g} GB·s"
        )
    for split in report.splits:
        held_out = ", held out" if split.held_out else ""
        typer.echo(
            f"{split.split:<10}{counted(split.samples, 'sample')}{held_out}, for {split.use}"
        )
    typer.echo("")
    if report.rounds:
        figures = ("train_loss", "loss", "accuracy")
        has_clients = any(entry.clients is not None for entry in report.rounds)
        print_table(
            ("round", "seconds", *(["clients"] if has_clients else []), *figures),
            [
                (
                    entry.round,
                    f"{entry.wall_s:.2f}",
                    *([_answered(entry)] if has_clients else []),
                    *(_shown(entry, name) for name in figures),
                )
                for entry in report.rounds
            ],
        )
        typer.echo("")
    columns = ("action", "task", "worker", "round", "memory_mb", "peak_mb", "start", "duration_ms")
    rows = [[getattr(entry, name) for name in columns] for entry in report.activations]
    print_table(
        (*columns, "outcome", "activation"),
        [
            (*("-" if value is None else value for value in row), entry.outcome, entry.id)
            for row, entry in zip(rows, report.activations, strict=True)
        ],
    )


def _answered(entry: RoundReport) -> str:
    """Of the clients that were asked, how many are in the average."""
    clients = entry.clients
    return "-" if clients is None else clients.shown


def _shown(entry: RoundReport, name: str) -> str:
    value = getattr(entry, name)
    return "-" if value is None else f"{value:.4f}"


def report_command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE", help="A run's id (its beginning or end will do), or a report.json."
        ),
    ],
    run_dir: RunDir,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where the page goes; else beside the report, as .html.",
        ),
    ] = None,
) -> None:
    """Write a saved report as one HTML page: timeline, rounds, memory, plan."""
    from disdel.controller.runs.run_folder import find_run
    from disdel.jobs import write_page

    file = Path(run)
    source = file if file.is_file() else find_run(run_dir, run).report
    target = output or source.with_suffix(".html")
    if str(target) == "-":
        raise UsageError("--output - would be a file of that name: name it, or use /dev/stdout")
    check_target("--output", target)
    check_all_differ({"the report": source, "--output": target})
    write_page(source, target)
    typer.echo(str(target))


def logs_command(
    run: Run,
    run_dir: RunDir,
    worker: Annotated[
        int | None, typer.Option("--worker", metavar="N", help="Only this worker's.")
    ] = None,
    client: Annotated[
        int | None,
        typer.Option("--client", metavar="N", help="Only those that this client trained in."),
    ] = None,
) -> None:
    """Print the logs of a run's activations, each under its own heading."""
    from disdel.controller.runs.run_folder import find_run

    folder = find_run(run_dir, run)
    activations = folder.read_report().activations
    workers = sorted({entry.worker for entry in activations if entry.worker is not None})
    if worker is not None and worker not in workers:
        known = ", ".join(map(str, workers)) or "none"
        raise UsageError(f"run {folder.run} has no worker {worker}; its workers: {known}")
    if client is not None:
        _check_client(folder.run, activations, client)
    for entry in activations:
        if worker is not None and entry.worker != worker:
            continue
        if client is not None and not entry.serves(client):
            continue
        owner = "" if entry.worker is None else f" worker {entry.worker}"
        if client is not None and len(entry.clients) > 1:
            owner += f", client {client} with {counted(len(entry.clients) - 1, 'other')}"
        typer.echo(
            f"== {entry.task}{owner} round {entry.round} segment {entry.segment}: "
            f"{entry.outcome}, {entry.duration_ms} ms, {entry.start}, {entry.id}"
        )
        log = folder.log(worker=entry.worker, activation_id=entry.id)
        typer.echo(log.read_text("utf-8", "replace").rstrip() if log.is_file() else "(no log)")


def _check_client(run: str, activations: Sequence[Activation], client: int) -> None:
    """Refuse a client that no activation names."""
    if any(entry.serves(client) for entry in activations):
        return
    named = {one for entry in activations for one in (*entry.clients, entry.client)} - {None}
    if not named:
        raise UsageError(
            f"the report of run {run} does not say which client an activation was of: it is of an "
            "older version, or none has trained. Leave --client out, or give --worker N"
        )
    from disdel.controller.federating.dropped import named_clients

    asked = named_clients(sorted(one for one in named if one is not None))
    raise UsageError(f"run {run} has no activation of client {client}; it has some of {asked}")
