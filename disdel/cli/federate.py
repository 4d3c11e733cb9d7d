"""`disdel federate`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from disdel.cli.beginning import begun
from disdel.cli.declared import Given
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.cli.resuming import check_resumed
from disdel.cli.train import Resume
from disdel.errors import UsageError
from disdel.platforms.base import Provider
from disdel.settings import Settings
from disdel.types import FederateJob

if TYPE_CHECKING:
    from disdel.controller.training.resuming import Resumed


def federate_command(
    asked: Given[FederateJob], settings: Settings, output: Output, resume: Resume = None
) -> None:
    """Train one network over many clients, each on its own samples, some in each round."""
    check_json_target(output.json)
    if resume is not None:
        from disdel.jobs import find_resumed

        resumed = find_resumed(resume, settings.run_dir)
        check_resumed(asked, resumed.federated_as, "rounds", may_differ=("containers",))
        job = resumed.federation(asked.values.get("rounds"))
        if "containers" in asked.values:
            # Sums are the same in however many containers.
            job = replace(job, containers=asked.values["containers"])
        _run(job, settings, output, resumed=resumed)
    elif "dataset" in asked.values:
        job = asked.made()
        with begun(job.as_training, settings) as provider:
            _run(job, settings, output, provider=provider)
    else:
        raise UsageError("name a data set, or a run with --resume RUN")


def _run(
    job: FederateJob,
    settings: Settings,
    output: Output,
    *,
    resumed: Resumed | None = None,
    provider: Provider | None = None,
) -> None:
    from disdel.jobs import run_federate
    from disdel.report.views import choose_view

    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        run_federate(job, settings, both(view, writer), resumed=resumed, provider=provider)
    writer.finish()
