import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.recovery import MAX_LOSSES, Attempt, after_loss, after_warning
from disdel.errors import ActivationFailed


def lost(outcome, *, lost=True):
    return ActivationFailed("lost", activation_id="0" * 32, outcome=outcome, lost=lost)


attempts = st.builds(
    Attempt,
    memory_mb=st.integers(128, 4096),
    micro_batches=st.integers(1, 64),
    block_steps=st.integers(1, 32),
    losses=st.integers(0, MAX_LOSSES),
)


def test_out_of_memory_means_more_memory_then_smaller_batches():
    attempt = Attempt(memory_mb=640)
    seen = []
    while (attempt := after_loss(attempt, lost("oom"), ceiling_mb=1024, batch_size=4)) is not None:
        seen.append((attempt.memory_mb, attempt.micro_batches))
    assert seen == [(960, 1), (1024, 1), (1024, 2), (1024, 4)]


def test_a_timeout_means_shorter_blocks():
    attempt = Attempt(memory_mb=640)
    seen = []
    while (
        attempt := after_loss(attempt, lost("timeout"), ceiling_mb=1024, batch_size=4)
    ) is not None:
        seen.append(attempt.block_steps)
    assert seen == [8, 2, 1]


def test_a_container_that_vanished_is_tried_again_as_it_was():
    attempt = Attempt(memory_mb=640)
    following = after_loss(attempt, lost("error"), ceiling_mb=1024, batch_size=4)
    assert following == Attempt(memory_mb=640, losses=1)


def test_an_action_that_reports_an_error_is_not_tried_again():
    failure = lost("error", lost=False)
    assert after_loss(Attempt(memory_mb=640), failure, ceiling_mb=1024, batch_size=4) is None


@given(
    attempt=attempts,
    outcomes=st.lists(st.sampled_from(["oom", "timeout", "error"]), min_size=MAX_LOSSES),
)
def test_losses_come_to_an_end(attempt, outcomes):
    for outcome in outcomes:
        following = after_loss(attempt, lost(outcome), ceiling_mb=4096, batch_size=64)
        if following is None:
            return
        assert following.losses == attempt.losses + 1
        attempt = following
    pytest.fail("tried again after too many losses")


@given(attempt=attempts, ceiling_mb=st.integers(0, 8192), batch_size=st.integers(1, 256))
def test_room_is_never_above_the_ceiling_nor_below_what_there_was(attempt, ceiling_mb, batch_size):
    following = after_warning(attempt, ceiling_mb=ceiling_mb, batch_size=batch_size)
    assert attempt.memory_mb <= following.memory_mb <= max(attempt.memory_mb, ceiling_mb)
    assert following.micro_batches <= max(attempt.micro_batches, batch_size)
    assert following != attempt


def test_where_nothing_relieves_the_pressure_it_is_no_longer_heeded():
    attempt = Attempt(memory_mb=512, micro_batches=8)
    assert not after_warning(attempt, ceiling_mb=512, batch_size=8).heed_memory
