"""Growth by steps, within the ceiling, the pool and the activation's bound, once a warning."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.memory_agent.decide import (
    DEFERRED_S,
    UNSETTLED_S,
    Grow,
    Pod,
    Policy,
    Refuse,
    Settled,
    TakeBack,
    decide,
    follow,
)
from disdel.memory_agent.memory_warning import MemoryWarning

MIB = 1 << 20


def warning(limit_mb=256, critical_mb=24, host="pod-1"):
    return MemoryWarning(
        host=host,
        action="/guest/disdel/train",
        activation_id="a" * 32,
        used_bytes=(limit_mb - 1) * MIB,
        limit_bytes=limit_mb * MIB,
        critical_bytes=critical_mb * MIB,
        time_s=1,
    )


def pod(limit_mb=256, name="pod-1", actual_mb=None, pending="", message=""):
    actual_bytes = None if actual_mb is None else actual_mb * MIB
    return Pod(name, "user-action", limit_mb * MIB, actual_bytes, pending, message)


def policy(ceiling_mb=1024, pool_mb=4096, step_mb=256, activation_mb=1024):
    return Policy(
        step_bytes=step_mb * MIB,
        ceiling_bytes=ceiling_mb * MIB,
        pool_bytes=pool_mb * MIB,
        activation_bytes=activation_mb * MIB,
    )


def test_one_step():
    assert decide(warning(), [pod()], policy()) == Grow(pod(), 512 * MIB)


def test_up_to_the_ceiling_and_no_further():
    assert decide(warning(), [pod()], policy(ceiling_mb=400)) == Grow(pod(), 400 * MIB)
    assert decide(warning(), [pod()], policy(ceiling_mb=256)) == Refuse(
        "the ceiling, 256 MiB, leaves 0 B"
    )
    assert decide(warning(512), [pod(512)], policy(ceiling_mb=400)) == Refuse(
        "the ceiling, 400 MiB, leaves 0 B"
    )


def test_the_pool_is_shared_with_the_other_pods():
    others = [pod(300, "pod-2"), pod(300, "pod-3")]
    assert decide(warning(), [*others, pod()], policy(pool_mb=1000)) == Grow(pod(), 400 * MIB)
    assert decide(warning(), [*others, pod()], policy(pool_mb=860)) == Refuse(
        "the pool, 860 MiB, leaves 4 MiB"
    )
    assert decide(warning(), [*others, pod()], policy(pool_mb=500)) == Refuse(
        "the pool, 500 MiB, leaves 0 B"
    )


@pytest.mark.parametrize(
    ("other", "held_mb"),
    [
        (pod(900, "pod-2", actual_mb=300), 900),
        (pod(900, "pod-2", actual_mb=300, pending="Deferred"), 900),
        (pod(900, "pod-2", actual_mb=300, pending="Infeasible"), 300),
        (pod(300, "pod-2", actual_mb=900), 900),
    ],
)
def test_the_pool_counts_what_may_still_be_got_and_no_more(other, held_mb):
    assert other.held_bytes == held_mb * MIB
    decision = decide(warning(), [other, pod()], policy(pool_mb=held_mb + 256 + 100))
    assert decision == Grow(pod(), 356 * MIB)


def test_one_activation_is_given_so_much_and_no_more():
    bounded = policy(activation_mb=300)
    assert decide(warning(), [pod()], bounded, 200 * MIB) == Grow(pod(), 356 * MIB)
    assert decide(warning(), [pod()], bounded, 300 * MIB) == Refuse(
        "the bound of one activation, 300 MiB, leaves 0 B"
    )


def test_growth_below_the_critical_region_is_none():
    assert decide(warning(critical_mb=24), [pod()], policy(ceiling_mb=280)) == Grow(
        pod(), 280 * MIB
    )
    assert isinstance(decide(warning(critical_mb=24), [pod()], policy(ceiling_mb=279)), Refuse)
    assert isinstance(decide(warning(critical_mb=0), [pod()], policy(ceiling_mb=256)), Refuse)


def test_a_warning_heard_twice_grows_once():
    assert decide(warning(), [pod(512)], policy()) == Refuse("its limit is 512 MiB already")
    on_the_way = pod(512, actual_mb=256, pending="Deferred", message="no room")
    assert decide(warning(), [on_the_way], policy()) == Refuse(
        "it is being resized to 512 MiB (Deferred: no room)"
    )


def test_a_limit_that_the_pod_never_had_is_no_reason():
    assert decide(warning(900), [pod()], policy()) == Refuse(
        "its limit is 256 MiB, the warning is about another"
    )


def test_strangers_are_left_alone():
    assert decide(warning(host="a-laptop"), [pod()], policy()) == Refuse(
        "there is no such action pod"
    )
    assert isinstance(decide(warning(), [], policy()), Refuse)


@pytest.mark.parametrize(
    ("now", "waited_s", "outcome"),
    [
        (None, 0, Settled(None)),
        (pod(512, actual_mb=512), 0, Settled(512 * MIB)),
        (replace(pod(512), actual_bytes=512 * MIB - 4096), 0, Settled(512 * MIB - 4096)),
        (pod(512, actual_mb=256, pending="InProgress"), UNSETTLED_S - 1, None),
        (pod(512, actual_mb=256), UNSETTLED_S - 1, None),
        (pod(512, actual_mb=256, pending="Deferred"), DEFERRED_S - 1, None),
        (pod(300, actual_mb=300), 0, Settled(300 * MIB)),
    ],
)
def test_what_became_of_a_resize(now, waited_s, outcome):
    assert follow(pod(), 512 * MIB, now, waited_s) == outcome


@pytest.mark.parametrize(
    ("now", "waited_s", "why"),
    [
        (
            pod(512, actual_mb=256, pending="Infeasible", message="8Gi of 4Gi"),
            0,
            "its node can never give 512 MiB (Infeasible: 8Gi of 4Gi)",
        ),
        (
            pod(512, actual_mb=256, pending="Deferred", message="no room"),
            DEFERRED_S,
            "its node has no room for 512 MiB now (Deferred: no room)",
        ),
        (pod(512, actual_mb=256), UNSETTLED_S, "its node has not given 512 MiB within 30 s"),
        (pod(512), UNSETTLED_S, "its node has not given 512 MiB within 30 s"),
    ],
)
def test_what_is_not_given_is_taken_back(now, waited_s, why):
    assert follow(pod(), 512 * MIB, now, waited_s) == TakeBack(256 * MIB, why)


SIZES_MB = st.integers(1, 5000)


@given(
    limit=SIZES_MB,
    others=st.lists(SIZES_MB, max_size=4),
    ceiling=SIZES_MB,
    pool=st.integers(1, 20000),
    step=SIZES_MB,
    bound=SIZES_MB,
    given_mb=st.integers(0, 5000),
    critical=st.integers(0, 100),
)
def test_no_growth_leaves_its_bounds(limit, others, ceiling, pool, step, bound, given_mb, critical):
    pods = [pod(limit), *(pod(mb, f"other-{i}") for i, mb in enumerate(others))]
    within = policy(ceiling, pool, step, bound)
    decision = decide(warning(limit, critical), pods, within, given_mb * MIB)
    if isinstance(decision, Grow):
        added_mb = decision.limit_bytes // MIB - limit
        assert decision.limit_bytes % MIB == 0
        assert 0 < added_mb <= step
        assert added_mb >= critical
        assert limit + added_mb <= ceiling
        assert limit + sum(others) + added_mb <= pool
        assert given_mb + added_mb <= bound
