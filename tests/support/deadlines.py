"""Deadlines of rounds that come by what has happened, and not by the machine's speed."""

import time

from disdel.controller.federating import cohorts

# Far longer than a test takes, and far enough for a clock to be past it.
DEADLINE_S, PAST_S = 120, 1000


class _Clock:
    """In the place of the controller's `time`."""

    past = staticmethod(lambda: False)

    def time(self):
        return time.time() + (PAST_S if self.past() else 0)


def ends_at(monkeypatch, answered, round_=1):
    """Have a round's deadline of `DEADLINE_S` be over as soon as so many clients have answered."""
    clock, waits = _Clock(), cohorts.CohortContainers._wait

    async def wait(self, tasks, cohort, *others):
        if cohort.number != round_:
            return await waits(self, tasks, cohort, *others)
        clock.past = lambda: len(cohort.answered) >= answered
        try:
            return await waits(self, tasks, cohort, *others)
        finally:
            clock.past = lambda: False

    monkeypatch.setattr(cohorts, "time", clock)
    monkeypatch.setattr(cohorts.CohortContainers, "_wait", wait)
