"""Growth by steps, within the ceiling and the pool, once a warning."""

from hypothesis import given
from hypothesis import strategies as st

from disdel.memory_agent.decide import Grow, Pod, Policy, Refuse, decide
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
    )


def pod(limit_mb=256, name="pod-1"):
    return Pod(name, "user-action", limit_mb * MIB)


def policy(ceiling_mb=1024, pool_mb=4096, step_mb=256):
    return Policy(
        step_bytes=step_mb * MIB, ceiling_bytes=ceiling_mb * MIB, pool_bytes=pool_mb * MIB
    )


def test_one_step():
    assert decide(warning(), [pod()], policy()) == Grow(pod(), 512 * MIB)


def test_up_to_the_ceiling_and_no_further():
    assert decide(warning(), [pod()], policy(ceiling_mb=400)) == Grow(pod(), 400 * MIB)
    assert decide(warning(), [pod()], policy(ceiling_mb=256)) == Refuse(
        "the ceiling of 256 MiB leaves 0 B"
    )
    assert decide(warning(512), [pod(512)], policy(ceiling_mb=400)) == Refuse(
        "the ceiling of 400 MiB leaves 0 B"
    )


def test_the_pool_is_shared_with_the_other_pods():
    others = [pod(300, "pod-2"), pod(300, "pod-3")]
    assert decide(warning(), [*others, pod()], policy(pool_mb=1000)) == Grow(pod(), 400 * MIB)
    assert decide(warning(), [*others, pod()], policy(pool_mb=860)) == Refuse(
        "the pool of 860 MiB leaves 4 MiB"
    )
    assert decide(warning(), [*others, pod()], policy(pool_mb=500)) == Refuse(
        "the pool of 500 MiB leaves 0 B"
    )


def test_growth_below_the_critical_region_is_none():
    assert decide(warning(critical_mb=24), [pod()], policy(ceiling_mb=280)) == Grow(
        pod(), 280 * MIB
    )
    assert isinstance(decide(warning(critical_mb=24), [pod()], policy(ceiling_mb=279)), Refuse)
    assert isinstance(decide(warning(critical_mb=0), [pod()], policy(ceiling_mb=256)), Refuse)


def test_a_warning_heard_twice_grows_once():
    assert decide(warning(), [pod(512)], policy()) == Refuse("its limit is 512 MiB already")


def test_strangers_are_left_alone():
    assert decide(warning(host="a-laptop"), [pod()], policy()) == Refuse(
        "there is no such action pod"
    )
    assert isinstance(decide(warning(), [], policy()), Refuse)


SIZES_MB = st.integers(1, 5000)


@given(
    limit=SIZES_MB,
    others=st.lists(SIZES_MB, max_size=4),
    ceiling=SIZES_MB,
    pool=st.integers(1, 20000),
    step=SIZES_MB,
    critical=st.integers(0, 100),
)
def test_no_growth_leaves_its_bounds(limit, others, ceiling, pool, step, critical):
    pods = [pod(limit), *(pod(mb, f"other-{i}") for i, mb in enumerate(others))]
    decision = decide(warning(limit, critical), pods, policy(ceiling, pool, step))
    if isinstance(decision, Grow):
        added_mb = decision.limit_bytes // MIB - limit
        assert decision.limit_bytes % MIB == 0
        assert 0 < added_mb <= step
        assert added_mb >= critical
        assert limit + added_mb <= ceiling
        assert limit + sum(others) + added_mb <= pool
