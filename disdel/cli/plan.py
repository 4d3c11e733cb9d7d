"""`disdel plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from disdel.cli.declared import Without
from disdel.cli.options import Output
from disdel.cli.output import check_json_target, write_json
from disdel.settings import Settings
from disdel.types import TrainJob
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

# What no plan depends on.
PlannedSettings = Annotated[Settings, Without({"redis", "store", "action_env", "run_dir", "keep"})]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a provider asks, in US dollars; None for the published prices of several.

    Raises:
        UsageError: a price is out of range.
    """

    per_gb_second: Annotated[
        float | None,
        Setting(
            "Price of a GB·s, instead of the published ones.",
            name="price_gb_s",
            metavar="USD",
            low=0,
            high=1_000_000,
            group="Prices",
        ),
    ] = None
    per_invocation: Annotated[
        float | None,
        Setting(
            "Price of an activation, instead of the published ones.",
            name="price_invocation",
            metavar="USD",
            low=0,
            high=1_000_000,
            group="Prices",
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)


def plan_command(job: TrainJob, settings: PlannedSettings, prices: Prices, output: Output) -> None:
    """Show the plan of a training and what it would cost; run nothing."""
    from disdel.controller.planning.plan_report import plan_report
    from disdel.jobs import plan_costs, run_plan
    from disdel.report.plan_lines import plan_details, plan_lines

    check_json_target(output.json)
    made = run_plan(job, settings)
    costs = plan_costs(
        made.plan,
        settings,
        per_gb_s=prices.per_gb_second,
        per_invocation=prices.per_invocation,
    )
    if not output.quiet and output.json != "-":
        for line in [*plan_lines(made), *plan_details(made.plan, costs)]:
            typer.echo(line)
    write_json(
        output.json,
        {
            "version": 1,
            "dataset": job.dataset,
            "plan": asdict(plan_report(made.plan)),
            "costs": [asdict(cost) for cost in costs],
        },
    )
