"""Which cold starts tell that a platform has removed warm containers."""

import pytest

from disdel.controller.training.evictions import started_again
from tests.support.planning import activation

BEFORE = [activation(worker=worker, start="cold") for worker in (0, 1)]


def ended(*starts, outcomes=("ok", "ok", "ok")):
    return [
        activation(round=2, worker=worker, start=start, outcome=outcome)
        for (worker, start), outcome in zip(starts, outcomes, strict=False)
    ]


def test_a_worker_that_starts_cold_although_its_container_was_there_is_started_again():
    assert started_again(BEFORE, ended((0, "warm"), (1, "warm"))) == 0
    assert started_again(BEFORE, ended((0, "cold"), (1, "warm"))) == 1
    assert started_again([], ended((0, "cold"), (1, "cold"))) == 0


@pytest.mark.parametrize("outcome", ["oom", "timeout", "error"])
def test_what_is_cut_and_asked_for_anew_after_a_loss_is_no_removal(outcome):
    """A client that kills its container is found by halving, and each half begins cold."""
    halved = ended((0, "cold"), (1, "cold"), (1, "cold"), outcomes=("ok", outcome, "ok"))
    assert started_again([], halved) == 0
