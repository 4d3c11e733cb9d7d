"""`disdel federate`."""

from __future__ import annotations

from dataclasses import replace

from disdel.cli.declared import Given
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.cli.resuming import check_resumed
from disdel.cli.train import Resume
from disdel.errors import UsageError
from disdel.settings import Settings
from disdel.types import FederateJob


def federate_command(
    asked: Given[FederateJob], settings: Settings, output: Output, resume: Resume = None
) -> None:
    """Train one network over many clients, each on its own samples, some in each round."""
    from disdel.jobs import find_resumed, run_federate
    from disdel.report.views import choose_view

    if resume is not None:
        resumed = find_resumed(resume, settings.run_dir)
        check_resumed(asked, resumed.federated_as, "rounds", may_differ=("containers",))
        job = resumed.federation(asked.values.get("rounds"))
        if "containers" in asked.values:
            # Sums are the same in however many containers.
            job = replace(job, containers=asked.values["containers"])
    elif "dataset" in asked.values:
        resumed, job = None, asked.made()
    else:
        raise UsageError("name a data set, or a run with --resume RUN")
    check_json_target(output.json)
    writer = JsonWriter(output.json)
    with choose_view(quiet=output.quiet) as view:
        run_federate(job, settings, both(view, writer), resumed=resumed)
    writer.finish()
