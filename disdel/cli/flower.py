"""`disdel flower`."""

from __future__ import annotations

import sys
from typing import Annotated

from disdel.cli.declared import Without
from disdel.cli.options import Output
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.settings import Settings
from disdel.settings.settings import NOT_OF_FLOWER
from disdel.types.flower import FlowerJob

_STDERR = 2
FlowerSettings = Annotated[Settings, Without(NOT_OF_FLOWER)]


def flower_command(job: FlowerJob, settings: FlowerSettings, output: Output) -> None:
    """Run a Flower app: its ServerApp here, each call of its ClientApp as a function."""
    from disdel.jobs import run_flower
    from disdel.report.views import LastingView, PlainView, QuietView

    check_json_target(output.json)
    writer = JsonWriter(output.json)
    # The ServerApp prints as well, so nothing is drawn in place.
    with QuietView() if output.quiet else LastingView(PlainView()) as view:
        sys.stdout.flush()
        # JSON on standard output is alone there.
        run_flower(
            job, settings, both(view, writer), output=_STDERR if output.json == "-" else None
        )
    writer.finish()
