"""A compiler that starts with the command, where its job is sure to need one."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from disdel.host import environment
from disdel.host.home import make_own
from disdel.runtimes.registry import runtime_named
from disdel.settings import Settings
from disdel.types import TrainJob
from disdel.user_code.collecting import is_entry


def compiler_ahead(job: TrainJob, settings: Settings) -> AbstractContextManager[None]:
    """Within, a compiler imports Keras beside what goes on, and waits for the network of a job.

    None is started where the job may need none, is of the user's own network, or is like one whose
    network was compiled before.
    """
    compiles = job.runtime is not None and runtime_named(job.runtime).compiles
    if not compiles or is_entry(job.model) or _mark(job, settings).exists():
        return nullcontext()
    # Other jobs begin their platform before they import what compiles.
    from disdel.compiler.starting import compiler_begun

    return compiler_begun()


def remember_compiled(job: TrainJob, settings: Settings) -> None:
    """Have the next `compiler_ahead` for such a job start none."""
    mark = _mark(job, settings)
    # Without it, a compiler is started that nobody needs, and the run goes on.
    with suppress(OSError):
        make_own(mark.parent)
        mark.touch()


def _mark(job: TrainJob, settings: Settings) -> Path:
    """A file that is there once a network for such a job was compiled: likely, it still is.

    By what is known when a command begins, and stays as it was asked for: an optimizer that is left
    out and a strategy's parameters are decided later, and the learning rate is an argument.
    """
    facts = [
        *(job.dataset, job.model, job.batch_size, job.strategy.partition(":")[0]),
        *(settings.platform, settings.apihost, settings.arch),
    ]
    digest = hashlib.sha256(json.dumps(list(map(str, facts))).encode()).hexdigest()[:16]
    return environment.state_dir() / "compiled" / f"asked-{digest}"
