"""What may be said of a run that is resumed: nothing that contradicts it, and more of one thing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from disdel.cli.declared import Given
from disdel.errors import UsageError
from disdel.settings import Declared, changed, declared
from disdel.types import LearningJob

Job = TypeVar("Job", bound=LearningJob)


def check_resumed(
    asked: Given[Job], before: Job, may_grow: str, *, may_differ: Collection[str] = ()
) -> None:
    """Refuse what is asked of a run that was begun otherwise.

    Args:
        asked: what the user has said.
        before: the run's job.
        may_grow: the setting of which a run may get more.
        may_differ: those that say where it runs, and change nothing of what it computes.

    Raises:
        UsageError: something else is another value.
    """
    names = set(asked.values)
    job = _asked_of(asked, before)
    if "outer" in names:
        # It is another word for a strategy.
        names.add("strategy")
    may_change = " and ".join(f"--{name}" for name in (may_grow, *may_differ))
    for option in declared(asked.cls):
        now, then = option.value(job), option.value(before)
        if option.name not in names or option.name in (may_grow, *may_differ):
            continue
        # None is `auto`.
        if now not in (None, then):
            source = asked.sources.get(option.name, "--outer")
            raise UsageError(
                f"{source} is {now}, and {_shown(option, then)} in the run to "
                f"be resumed; only {may_change} may change"
            )


def _asked_of(asked: Given[Job], before: Job) -> Job:
    """The run's job, were it what is asked: what has been left out is what the run has."""
    from disdel.jobs import as_runs_have_it

    said = dict(asked.values)
    if "outer" in said:
        said.setdefault("strategy", "fedavg")
    try:
        return as_runs_have_it(changed(before, said))
    except UsageError:
        # What was begun and what is asked do not go together: they differ in some option.
        return asked.made(dataset=before.dataset)


def _shown(option: Declared, value: Any) -> str:
    return str(value) if value is not None else option.shown_default or "not given"
