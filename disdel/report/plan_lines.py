"""The sentences and rows of a plan, as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from disdel.report.endpoint_lines import plan_rows
from disdel.types import Cost, DatasetSpec, Estimate, InferPlan, Option, Plan, PlanReport, TrainJob
from disdel.types.events import InferPlanMade, PlanMade
from disdel.types.units import format_bytes, mb_ceil
from disdel.types.words import counted

# Of the numbers of workers that were considered; `--json` has them all.
_OPTIONS_SHOWN = 6


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
