"""What may be said of a run that is resumed: nothing that contradicts it, and more of one thing."""

from __future__ import annotations

from typing import TypeVar

from disdel.cli.declared import Given
from disdel.errors import UsageError
from disdel.settings import declared
from disdel.types import LearningJob

Job = TypeVar("Job", bound=LearningJob)


def check_resumed(asked: Given[Job], before: Job, may_grow: str) -> None:
    """Refuse what is asked of a run that was begun otherwise.

    Args:
        asked: what the user has said.
        before: the run's job.
        may_grow: the setting of which a run may get more.

    Raises:
        UsageError: something else is another value.
    """
    job = asked.made(dataset=before.dataset)
    for option in declared(asked.cls):
        now, then = option.value(job), option.value(before)
        # None is `auto`.
        if option.name in asked.values and option.name != may_grow and now not in (None, then):
            raise UsageError(
                f"{asked.sources[option.name]} is {now}, and {then} in the run to be resumed; only "
                f"--{may_grow} may change"
            )
