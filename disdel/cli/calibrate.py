"""`disdel calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from disdel.cli.declared import Given, Only, Without
from disdel.cli.options import Output
from disdel.cli.output import check_json_target, write_json
from disdel.settings import Settings
from disdel.types import TrainJob

Runtime = Annotated[Given[TrainJob], Only({"runtime"})]
PlaceOfRuns = Annotated[
    Settings,
    Without(
        {
            *("memory_max", "pool_memory", "gpu_memory", "timeout_max"),
            *("optimize", "estimator", "miss_rate", "data_dir", "run_dir", "keep"),
        }
    ),
]


def calibrate_command(asked: Runtime, settings: PlaceOfRuns, output: Output) -> None:
    """Measure what a runtime takes on this platform, with three short trainings.

    Every training measures it too; this is for a first plan that is based on measurements.
    """
    from disdel.jobs import run_calibrate
    from disdel.report.views import choose_view
    from disdel.runtimes.registry import DEFAULT, runtime_named

    runtime = runtime_named(asked.values.get("runtime") or DEFAULT.name)
    check_json_target(output.json)
    with choose_view(quiet=output.quiet) as view:
        found = run_calibrate(settings, view, runtime=runtime.name)
    measured = found.runtime
    write_json(
        output.json,
        {
            "version": 1,
            "runtime": {
                "image": runtime.image,
                "model_suffix": runtime.model_suffix,
                "modules": runtime.modules,
                **asdict(measured),
            },
            "containers": found.containers,
            "history": str(found.path),
        },
    )
    if not output.quiet and output.json != "-":
        typer.echo(
            f"{measured.name}: {measured.anonymous_mb:.0f} MB anonymous and "
            f"{measured.mapped_mb:.0f} MB of libraries before any samples, "
            f"{measured.cold_start_s:.1f} s to a first step, "
            f"{measured.multiply_adds_per_s / 1e9:.1f} G multiply-adds a second on one thread\n"
            f"{found.containers} containers are in {found.path}"
        )
