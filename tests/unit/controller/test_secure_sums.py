"""How many updates a secure sum needs, and what is said of those that are not there."""

import asyncio

import pytest

from disdel.controller.federating.secure import SecureSums
from disdel.errors import RoundFailed
from disdel.protocol.client_messages import SecureSession
from disdel.protocol.keys import RunKeys

SESSION = SecureSession(run="run", round=4, attempt=0, threshold=2 / 3, claims_key="claims")


@pytest.mark.parametrize(
    ("clients", "threshold", "told"),
    [
        (
            3,
            2 / 3,
            r"2 of 3 clients have sent an update, and a sum of fewer than 3 hides no single",
        ),
        (
            4,
            1.0,
            r"3 of 4 clients have sent an update, and a secure sum needs 4 \(--threshold 1 of",
        ),
    ],
)
def test_a_sum_of_too_few_is_refused_with_the_causes(clients, threshold, told):
    sums = SecureSums(RunKeys("run"), threshold, send=None)
    cohort = list(range(clients))
    closing = sums.close(SESSION, [cohort], cohort[:-1], [], {cohort[-1]: "no disk"})
    with pytest.raises(
        RoundFailed, match=rf"round 4 failed: {told}.* client {cohort[-1]}: no disk"
    ):
        asyncio.run(closing)
