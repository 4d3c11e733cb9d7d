import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.recovery import MAX_LOSSES, Attempt, after_loss, after_warning
from disdel.controller.training.containers import held_at_once
from disdel.errors import ActivationFailed
from disdel.platforms.base import ActionSpec
from tests.support.fake_platform import FakePlatform


def lost(outcome, *, lost=True, in_init=False, unexplained=False):
    return ActivationFailed(
        "lost",
        activation_id="0" * 32,
        outcome=outcome,
        lost=lost,
        in_init=in_init,
        unexplained=unexplained,
    )


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


@pytest.mark.parametrize(
    ("attempt", "cuts", "told"),
    [
        (Attempt(memory_mb=640), True, ""),
        (Attempt(memory_mb=640, micro_batches=2, block_steps=16), True, ", batches in 2 parts"),
        (Attempt(memory_mb=640, micro_batches=2, block_steps=16), False, ", 16 steps at a time"),
        (Attempt(memory_mb=640, micro_batches=32, block_steps=1), False, ", 1 step at a time"),
    ],
)
def test_only_batches_that_are_cut_are_said_to_be(attempt, cuts, told):
    assert held_at_once(attempt, cuts=cuts) == told


@pytest.mark.parametrize(
    ("in_init", "sizes"), [(False, [640, 960, 1024, 1024]), (True, [960, 1024, 1024, 1024])]
)
def test_containers_that_vanish_alike_get_more_memory_and_the_same_batches(in_init, sizes):
    failure = lost("error", in_init=in_init, unexplained=True)
    attempt, seen = Attempt(memory_mb=640), []
    while (attempt := after_loss(attempt, failure, ceiling_mb=1024, batch_size=4)) is not None:
        seen.append(attempt.memory_mb)
        assert attempt.micro_batches == 1
    assert seen == sizes


def test_a_timeout_means_shorter_blocks():
    attempt = Attempt(memory_mb=640)
    seen = []
    while (
        attempt := after_loss(attempt, lost("timeout"), ceiling_mb=1024, batch_size=4)
    ) is not None:
        seen.append(attempt.block_steps)
    assert seen == [8, 2, 1]


def test_a_container_that_takes_too_long_to_start_gets_all_the_time_that_there_is():
    failure = lost("timeout", in_init=True)
    following = after_loss(Attempt(memory_mb=640), failure, ceiling_mb=1024, batch_size=4)
    assert following == Attempt(memory_mb=640, longest=True, losses=1)
    assert after_loss(following, failure, ceiling_mb=1024, batch_size=4) is None


def test_an_action_gets_another_limit_under_another_name():
    platform = FakePlatform({"train": lambda _: {}})
    spec = ActionSpec(name="train", code=b"", memory_mb=512, timeout_s=300)

    async def names():
        action = SizedAction(platform, "p", spec, timeout_max_s=900)
        ways = ((512, False), (512, True), (768, False), (768, True), (512, True))
        return [(await action.of_size(mb, longest=longest)).name for mb, longest in ways]

    assert asyncio.run(names()) == [
        *("train", "train-900s", "train-768", "train-768-900s", "train-900s")
    ]
    made = {name: action for (_, name), action in platform.actions.items()}
    assert {name: (one.memory_mb, one.timeout_s) for name, one in made.items()} == {
        "train": (512, 300),
        "train-900s": (512, 900),
        "train-768": (768, 300),
        "train-768-900s": (768, 900),
    }


def test_where_the_planned_limit_is_the_longest_the_action_stays_the_same():
    platform = FakePlatform({"train": lambda _: {}})
    spec = ActionSpec(name="train", code=b"", memory_mb=512, timeout_s=300)
    action = SizedAction(platform, "p", spec, timeout_max_s=300)
    assert asyncio.run(action.of_size(512, longest=True)) == spec


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
