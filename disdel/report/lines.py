"""The sentences and rows of a run, as text; shared by the live and the plain view."""

from __future__ import annotations

from pathlib import Path

from disdel.report.endpoint_lines import done_rows
from disdel.report.flower_lines import flower_summary_lines
from disdel.types import Evaluation, NumberEvaluation, RunReport, Split
from disdel.types.client_scores import ClientScores, Spread
from disdel.types.events import RoundDone, RunEnded, WorkerProgress
from disdel.types.timeline import split_time
from disdel.types.words import counted

# Of classes: all of them up to so many, else so many of the worst.
_CLASSES_SHOWN = 20
_WORST_SHOWN = 10
_NAME_WIDTH = 24
_CLIENTS_SHOWN = 5
# Of a round that takes so long, nobody needs parts of a second.
_LONG_S = 1000.0


def round_heading(scored_on: Split, *, has_classes: bool = True, has_clients: bool = False) -> str:
    """The heading of the rounds' rows, which names the split that they are scored on."""
    short = {"validation": "val", "test": "test", "train": "train"}[scored_on]
    accuracy = f"  {f'{short} acc':>8}" if has_classes else ""
    clients = f"  {'clients':>9}" if has_clients else ""
    return (
        f"{'round':>7}  {'time':>8}{clients}  {f'{short} loss':>9}{accuracy}  {'cold/warm':>9}  "
        f"{'peak MB':>7}"
    )


def round_line(event: RoundDone) -> str:
    """One row under `round_heading`."""
    report = event.report
    loss = _figure(report.loss)
    accuracy = f"  {_figure(report.accuracy):>8}" if event.has_classes else ""
    clients = ""
    if report.clients is not None:
        # Of those asked, so many are in the average.
        clients = f"  {report.clients.shown:>9}"
    seconds = f"{report.wall_s:.{2 if report.wall_s < _LONG_S else 0}f} s"
    line = (
        f"{f'{report.round}/{event.rounds}':>7}  {seconds:>8}{clients}  "
        f"{loss:>9}{accuracy}  "
        f"{f'{event.cold}/{event.warm}':>9}  {event.peak_mb:>7}"
    )
    if report.privacy is not None:
        line += f"  ε {report.privacy.epsilon:.3g}"
        if report.privacy.seeded:
            line += " (seeded)"
    return "  ".join([line, *(f"{name} {mean:.4f}" for name, mean in report.metrics.items())])


def remaining_text(event: RoundDone) -> str:
    """How long the run will still take; empty after its last round."""
    return f"about {event.remaining_s:.0f} s left" if event.remaining_s else ""


def progress_cells(progress: WorkerProgress, start: str) -> tuple[str, ...]:
    """A worker's row: number, client, state, cold or warm, epoch, step, loss, memory of limit."""
    if progress.step is None or progress.last_step is None:
        step = ""
    else:
        first = progress.first_step or 0
        step = f"{progress.step - first}/{progress.last_step - first}"
    limit = "" if progress.limit_mb is None else f" / {progress.limit_mb}"
    return (
        str(progress.worker),
        "" if progress.client is None else str(progress.client),
        progress.state,
        start,
        "" if progress.epoch is None else str(progress.epoch),
        step,
        "" if progress.loss is None else f"{progress.loss:.4f}",
        "" if progress.memory_mb is None else f"{progress.memory_mb}{limit} MB",
    )


PROGRESS_HEADINGS = ("worker", "client", "state", "start", "epoch", "step", "loss", "memory")


def summary_lines(event: RunEnded) -> list[str]:
    """What came out, and where everything is."""
    report = event.report
    where = _where(event)
    if report.status == "interrupted":
        return [f"interrupted  {report.wall_s:.1f} s    {where}"]
    if report.status == "failed":
        kind = "failed" if report.error is None else report.error.kind
        return [f"failed  {report.wall_s:.1f} s  {kind}    {where}"]
    result = ""
    if report.accuracy is not None and report.loss is not None:
        result = f"  test accuracy {report.accuracy:.4f}  loss {report.loss:.4f}"
    elif report.loss is not None:
        result = f"  test loss {report.loss:.4f}"
    result += "".join(f"  {name} {mean:.4f}" for name, mean in report.metrics.items())
    match report.evaluation:
        case NumberEvaluation(mean_squared_error=squared, mean_absolute_error=absolute):
            result = f"  mean squared error {squared:.4f}  mean absolute error {absolute:.4f}"
        case Evaluation(top_k=k, top_k_accuracy=accuracy) if k > 1:
            result += f"  top-{k} {accuracy:.4f}"
    lines = [f"done    {report.wall_s:.1f} s{result}"]
    lines += _decision_lines(report)
    if report.stopped is not None:
        lines.append(f"        stopped after round {report.rounds[-1].round}: {report.stopped}")
    elif report.rounds_to_target is not None:
        lines.append(f"        target accuracy reached in round {report.rounds_to_target}")
    if report.client_scores is not None:
        lines += client_lines(report.client_scores)
    if report.flower is not None:
        lines += flower_summary_lines(report.flower)
    elif report.job != "infer":
        lines += _time_lines(report)
    if report.totals is not None:
        totals = report.totals
        lines.append(
            f"        {totals.containers} container{'s' * (totals.containers != 1)}, "
            f"{totals.memory_mb} MB in all, {totals.gb_s:.1f} GB·s, {totals.failed} failed"
            f"{f', {totals.overtaken} overtaken' if totals.overtaken else ''}"
            f"{_working_set(report)}"
        )
    lines += done_rows(report.endpoints)
    if isinstance(report.evaluation, Evaluation):
        lines += class_lines(report.evaluation)
    if report.job != "infer" and report.model is not None:
        gone = "" if Path(report.model).exists() else ", which is not there any more"
        lines.append(f"        {report.model}{gone}")
    lines.append(f"        {where}")
    return lines


def _where(event: RunEnded) -> str:
    """Where the report is; the folder may have been deleted under the run, or have no room."""
    folder = Path(event.folder)
    # What else is there of a report that the folder did not take is of the run's beginning.
    names = ("report.html", "report.json") if event.elsewhere is None else ("report.html",)
    there = [name for name in names if (folder / name).is_file()]
    if event.elsewhere:
        page = [str(folder / name) for name in there]
        return f"{', '.join([*page, event.elsewhere])}    disdel logs {event.report.run}"
    if not there:
        gone = "" if folder.is_dir() else ", a folder that is not there any more"
        return f"no report in {folder}{gone}"
    return f"{folder}/{', '.join(there)}    disdel logs {event.report.run}"


def _decision_lines(report: RunReport) -> list[str]:
    """The score by which the model was chosen, where it is not that of the test."""
    chosen = [entry for entry in report.rounds if entry.round == report.model_round]
    if report.scored_on != "validation" or not chosen or chosen[0].loss is None:
        return []
    entry = chosen[0]
    accuracy = "" if entry.accuracy is None else f"accuracy {entry.accuracy:.4f}  "
    return [
        f"        validation {accuracy}loss {entry.loss:.4f} in round {entry.round}, "
        "whose model is kept"
    ]


def _working_set(report: RunReport) -> str:
    """What evaluate actions had resident at most, beside what was planned for each."""
    if report.job != "infer" or report.plan is None:
        return ""
    used = [a.working_set_mb for a in report.activations if a.working_set_mb is not None]
    if not used:
        return ""
    most, allowed = max(used), report.plan.memory_mb
    if most > allowed:
        # Pages of files, as of libraries that were just installed, are resident beyond a limit.
        return f"; at most {most} MB resident, library pages beyond {allowed} MB among them"
    return f"; at most {most} of {allowed} MB needed"


def class_lines(evaluation: Evaluation) -> list[str]:
    """A table of the classes; of many, those that are recognised worst."""
    scores = list(evaluation.classes)
    if len(scores) > _CLASSES_SHOWN:
        # Classes that neither are nor were predicted come last.
        scores = sorted(scores, key=lambda score: 2 if score.f1 is None else score.f1)
        scores = scores[:_WORST_SHOWN]
    names = [_shortened(score.name) for score in scores]
    width = max(len("class"), *map(len, names))
    lines = [f"        {'class':<{width}}  samples  precision  recall      f1"]
    lines += [
        f"        {name:<{width}}  {score.samples:>7}  {_figure(score.precision):>9}  "
        f"{_figure(score.recall):>6}  {_figure(score.f1):>6}"
        for name, score in zip(names, scores, strict=True)
    ]
    if hidden := len(evaluation.classes) - len(scores):
        lines.append(f"        and {hidden} more with a better f1, in the report")
    return lines


def client_lines(scores: ClientScores) -> list[str]:
    """How a model does on its clients' own samples: on average, and where it is worst."""
    what = "held-out" if scores.part == "held-out" else "training"
    whose = f"{counted(scores.clients, 'client')}, own {what} samples"
    without = f" ({scores.unscored} more without a score)" if scores.unscored else ""
    named = ", ".join(map(str, scores.worst[:_CLIENTS_SHOWN]))
    lines = [f"        {whose}{without}: {_spread_text(scores.accuracy, scores.loss)}"]
    if scores.personal_loss is not None:
        personal = _spread_text(scores.personal_accuracy, scores.personal_loss)
        lines.append(f"        trained further by each of them: {personal}")
    lines.append(f"        worst off: client{'s' * (len(scores.worst) > 1)} {named}")
    return lines


def _spread_text(accuracy: Spread | None, loss: Spread) -> str:
    name, shown = ("loss", loss) if accuracy is None else ("accuracy", accuracy)
    return f"{name} {shown.mean:.4f}, worst tenth {shown.worst_tenth:.4f}"


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _time_lines(report: RunReport) -> list[str]:
    """One line that says where the wall time went, where that is known."""
    split = split_time(report.activations, report.wall_s)
    if split is None:
        return []
    named = (
        ("start", split.start_s),
        ("training", split.training_s),
        ("rest of the rounds", split.rest_s),
        ("end", split.end_s),
    )
    return [f"        {', '.join(f'{name} {seconds:.1f} s' for name, seconds in named)}"]
