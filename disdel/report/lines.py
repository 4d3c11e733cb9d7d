"""The sentences and rows of a run, as text; shared by the live and the plain view."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from disdel.report.endpoint_lines import done_rows, plan_rows
from disdel.report.flower_lines import flower_summary_lines
from disdel.types import (
    Cost,
    DatasetSpec,
    Estimate,
    Evaluation,
    InferPlan,
    NumberEvaluation,
    Option,
    Plan,
    PlanReport,
    RunReport,
    Split,
    TrainJob,
)
from disdel.types.client_scores import ClientScores, Spread
from disdel.types.events import InferPlanMade, PlanMade, RoundDone, RunEnded, WorkerProgress
from disdel.types.timeline import split_time
from disdel.types.units import format_bytes, mb_ceil
from disdel.types.words import counted

# Of the numbers of workers that were considered; `--json` has them all.
_OPTIONS_SHOWN = 6
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


def plan_lines(event: PlanMade) -> list[str]:
    """The plan in a few lines."""
    job, dataset = event.job, event.dataset
    shape = "×".join(str(size) for size in dataset.input_shape)
    precision = ", bfloat16" if event.plan.precision == "bfloat16" else ""
    heading = (
        f"plan    {dataset.name} {shape}, {_samples(dataset, job)}; model {event.model}, "
        f"batch {job.batch_size}, {_rounds_of(event)}, seed {job.seed}{precision}"
    )
    return [heading, *describe_plan(event.plan)]


def _rounds_of(event: PlanMade) -> str:
    """What happens in a round, and of a federation who takes part."""
    job, federation = event.job, event.federation
    if federation is None:
        return f"epochs {job.epochs}, sync {job.sync}"
    asked = "" if federation.asked == federation.wanted else f" ({federation.asked} asked)"
    owned = f"partition {federation.partition}"
    if federation.data is not None:
        owned = f"data of their own by {federation.data}"
    return (
        f"{federation.wanted} of {federation.clients} clients a round{asked}, {owned}, "
        f"local epochs {_of_clients(federation.local_epochs)}, {federation.strategy}"
    )


def _of_clients(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _samples(dataset: DatasetSpec, job: TrainJob) -> str:
    """How many samples train, decide and test."""
    parts = [str(dataset.train_samples)]
    unused = "" if job.validation.decides else " (not used without --patience or --target-accuracy)"
    if dataset.validation_samples:
        parts.append(
            f"{dataset.validation_samples} validation"
            f"{' (held out)' * dataset.validation_held_out}"
            f"{unused}"
        )
    parts.append(f"{dataset.test_samples} test{' (held out)' * dataset.held_out}")
    return " + ".join(parts)


def describe_plan(plan: Plan) -> list[str]:
    """Workers, memory by part, rounds and the reasons."""
    return [
        f"        {plan.workers} {plan.runtime} worker{'s' * (plan.workers > 1)}{_threads(plan)} × "
        f"{sizes_of(plan)} MB, {_samples_each(plan)}; "
        f"{plan.rounds} round{'s' * (plan.rounds > 1)}, time limit {plan.timeout_s:g} s; "
        f"about {_rounded(plan.predicted_s)} s and {_rounded(plan.gb_s)} GB·s",
        f"        memory  {_parts(plan.estimate)} ({plan.estimator}: {plan.basis})",
        *(f"        why     {reason}" for reason in plan.reasons),
        *plan_rows(plan.endpoints),
    ]


def infer_plan_lines(event: InferPlanMade) -> list[str]:
    """The plan of an inference in a few lines."""
    plan, dataset = event.plan, event.dataset
    shape = "×".join(str(size) for size in dataset.input_shape)
    return [
        f"plan    {counted(event.samples, 'sample')} of {dataset.name} {shape}; "
        f"model {event.model}, {format_bytes(event.model_bytes)}",
        f"        {plan.workers} action{'s' * (plan.workers > 1)}{_threads(plan)} × "
        f"{sizes_of(plan)} MB, {_slice_sizes(plan)} each in batches of "
        f"{plan.batch_size}; time limit {plan.timeout_s:g} s; about {_rounded(plan.predicted_s)} s "
        f"and {_rounded(plan.gb_s)} GB·s",
        f"        memory  {_parts(plan.estimate)} ({plan.basis})",
        *(f"        why     {reason}" for reason in plan.reasons),
        *plan_rows(plan.endpoints, of="samples", step="batch"),
    ]


def _slice_sizes(plan: InferPlan) -> str:
    least, most = min(s.samples for s in plan.slices), max(s.samples for s in plan.slices)
    return counted(most, "sample") if most - least <= 1 else f"{least} to {most} samples"


def sizes_of(plan: Plan | PlanReport | InferPlan) -> str:
    """The MB of a plan's containers: the least and the most, if they are of several sizes."""
    several = [*(one.memory_mb for one in plan.endpoints if one.workers)]
    if not isinstance(plan, InferPlan):
        several += [one.memory_mb for one in plan.sizes]
    sizes = sorted(set(several) or {plan.memory_mb})
    return " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))


def _rounded(number: float) -> str:
    """Without what an estimate does not tell, and not to nothing."""
    return f"{number:.0f}" if number >= 2 else f"{number:.1g}"


def _samples_each(plan: Plan) -> str:
    """The samples of each client; those that are equal to one differ by one at most."""
    counts = plan.client_samples
    least, most = min(counts), max(counts)
    samples = counted(most, "sample") if most - least <= 1 else f"{least} to {most} samples"
    in_turn = "" if len(counts) == plan.workers else f"{len(counts)} clients in turn, "
    return f"{in_turn}{samples} each"


def _threads(plan: Plan | InferPlan) -> str:
    return "" if plan.threads is None else f" × {plan.threads} thread{'s' * (plan.threads > 1)}"


def _parts(estimate: Estimate) -> str:
    framework, data, model, step, margin = estimate.parts_mb
    return (
        f"framework {framework} + data {data} + model {model} + step {step} + margin {margin} = "
        f"{mb_ceil(estimate.total)} MB"
    )


def plan_details(plan: Plan, costs: Sequence[Cost]) -> list[str]:
    """What `disdel plan` shows beyond the plan itself: zones, alternatives and costs."""
    zones = plan.zones
    lines = [
        f"        zones   killed below {zones.killed_below_mb} MB, thrashing below "
        f"{zones.thrashing_below_mb} MB, chosen {plan.memory_mb} MB",
        *_runtime_lines(plan),
        "",
        f"{'runtime':>18}  {'workers':>7}  {'MB each':>7}  {'MB in all':>9}  {'time':>9}  "
        f"{'GB·s':>8}",
    ]
    for runtime, options in groupby(plan.considered, key=lambda option: option.runtime):
        lines += _options_lines(runtime, list(options))
    lines += ["", f"cost    {plan.gb_s:g} GB·s and {plan.invocations} activations{_usd_of(plan)}"]
    width = max((len(cost.provider) for cost in costs), default=0)
    lines += [
        f"        {cost.provider:<{width}}  ${cost.usd:.6f}  ({cost.source})" for cost in costs
    ]
    return lines


def _usd_of(plan: Plan) -> str:
    """What a plan costs at the prices of its endpoints, where it has some."""
    if not plan.endpoints:
        return ""
    dollars = [one.usd for one in plan.endpoints if one.workers]
    known = [usd for usd in dollars if usd is not None]
    if len(known) < len(dollars):
        return "; the price of an endpoint is unknown (price_gb_s in the fabric file)"
    return f", ${sum(known):.6f} in all"


def _runtime_lines(plan: Plan) -> list[str]:
    """The best of each runtime, where there were several to choose from."""
    by_runtime: dict[str, Option] = {}
    for option in plan.considered:
        best = by_runtime.setdefault(option.runtime, option)
        if _rank(option, plan) < _rank(best, plan):
            by_runtime[option.runtime] = option
    if len(by_runtime) == 1:
        return []
    return [
        f"        {'' if row else 'runtime':<7} {option.runtime}: {option.workers} × "
        f"{option.memory_mb} MB, {option.predicted_s:.1f} s, {option.gb_s:.1f} GB·s; "
        f"{option.why or 'chosen'}"
        for row, option in enumerate(by_runtime.values())
    ]


def _rank(option: Option, plan: Plan) -> tuple[bool, bool, float]:
    """Smaller for what would rather be taken: the chosen, what fits, what serves the objective."""
    value = {"time": option.predicted_s, "cost": option.gb_s, "memory": option.pool_mb}
    return bool(option.why), not option.fits, value[plan.optimize]


def _options_lines(runtime: str, options: list[Option]) -> list[str]:
    """The first few of a runtime's options, and the one that was chosen."""
    shown = [
        option for place, option in enumerate(options) if place < _OPTIONS_SHOWN or not option.why
    ]
    lines = [_option_line(option) for option in shown]
    if hidden := len(options) - len(shown):
        lines.append(f"{runtime:>18}  and {hidden} more, up to {options[-1].workers} workers")
    return lines


def _option_line(option: Option) -> str:
    return (
        f"{option.runtime:>18}  {option.workers:>7}  {option.memory_mb:>7}  {option.pool_mb:>9}  "
        f"{option.predicted_s:>7.1f} s  {option.gb_s:>8.1f}  {option.why or 'chosen'}"
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
    there = [name for name in ("report.html", "report.json") if (folder / name).is_file()]
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
    return f"; at most {max(used)} of {report.plan.memory_mb} MB needed" if used else ""


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
