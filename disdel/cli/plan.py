"""`disdel plan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from disdel.cli import options
from disdel.cli.output import check_json_target, write_json
from disdel.cli.reading import read_job, read_settings

_PRICES = "Prices"
PriceGbS = Annotated[
    float | None,
    typer.Option(
        "--price-gb-s",
        metavar="USD",
        min=0,
        max=1_000_000,
        help="Of a GB·s, in place of the published prices.",
        rich_help_panel=_PRICES,
    ),
]
PriceInvocation = Annotated[
    float | None,
    typer.Option(
        "--price-invocation",
        metavar="USD",
        min=0,
        max=1_000_000,
        help="Of an activation, in place of the published prices.",
        rich_help_panel=_PRICES,
    ),
]


def plan_command(
    dataset: options.Dataset,
    batch: options.Batch = 64,
    epochs: options.Epochs = 5,
    workers: options.Workers = "auto",
    sync: options.SyncText = "epoch",
    fan_in: options.FanIn = "auto",
    model: options.Model = "auto",
    runtime: options.Runtime = "auto",
    precision: options.PrecisionText = "float32",
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    memory_max: options.MemoryMax = None,
    pool_memory: options.PoolMemory = None,
    gpu_memory: options.GpuMemory = "auto",
    timeout_max: options.TimeoutMax = None,
    limits: options.PlatformLimits = "roomy",
    optimize: options.Optimize = "time",
    estimator: options.EstimatorOption = "measured",
    miss_rate: options.MissRate = 1e-3,
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    patience_network: options.PatienceNetwork = None,
    insecure: options.Insecure = False,
    arch: options.Arch = None,
    data_dir: options.DataDir = None,
    price_gb_s: PriceGbS = None,
    price_invocation: PriceInvocation = None,
    json: options.JsonFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Show how a training would be cut and what it would take; run nothing."""
    from disdel.api import plan_costs, run_plan
    from disdel.controller.plan_report import plan_report
    from disdel.report.lines import plan_details, plan_lines

    job = read_job(
        dataset=dataset,
        batch=batch,
        epochs=epochs,
        workers=workers,
        sync=sync,
        fan_in=fan_in,
        model=model,
        runtime=runtime,
        precision=precision,
        optimizer=optimizer,
        learning_rate=learning_rate,
        seed=seed,
    )
    settings = read_settings(
        memory_max=memory_max,
        pool_memory=pool_memory,
        gpu_memory=gpu_memory,
        timeout_max=timeout_max,
        limits=limits,
        optimize=optimize,
        estimator=estimator,
        miss_rate=miss_rate,
        apihost=apihost,
        auth=auth,
        patience_network=patience_network,
        insecure=insecure,
        arch=arch,
        data_dir=data_dir,
    )
    check_json_target(json)
    made = run_plan(job, settings)
    costs = plan_costs(made.plan, per_gb_s=price_gb_s, per_invocation=price_invocation)
    if not quiet and json != "-":
        for line in [*plan_lines(made), *plan_details(made.plan, costs)]:
            typer.echo(line)
    write_json(
        json,
        {
            "version": 1,
            "dataset": dataset,
            "plan": asdict(plan_report(made.plan)),
            "costs": [asdict(cost) for cost in costs],
        },
    )
