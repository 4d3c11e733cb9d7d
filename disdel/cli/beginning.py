"""What commands that train begin before they import what trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from disdel.controller.planning.compiler_ahead import compiler_ahead
from disdel.platforms.base import Provider
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import runtime_named
from disdel.settings import Settings
from disdel.types import TrainJob


@contextmanager
def begun(job: TrainJob, settings: Settings) -> Iterator[Provider]:
    """Within, the platform of a job starts, and its compiler if it needs one, and import theirs."""
    image = "" if job.runtime is None else runtime_named(job.runtime).image
    wanted = settings.image(image) if image else None  # None where that is still to be decided.
    with compiler_ahead(job, settings), chosen(settings).ahead(settings, wanted) as provider:
        yield provider
