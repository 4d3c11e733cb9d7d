"""Which of several runtimes a plan takes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import InsufficientMemory, PlanError
from disdel.planner.plan import make_plan
from disdel.planner.question import ClientWork, Federation
from disdel.runtimes.registry import COMPILED, TENSORFLOW, TORCH
from disdel.types import Aims, Limits, TrainJob
from tests.support.planning import as_good, dataset, jobs, plan, platforms, question

runtimes = st.builds(
    replace,
    st.sampled_from([TENSORFLOW.costs, TORCH.costs, COMPILED.costs]),
    cold_start_s=st.floats(0, 10),
    multiply_adds_per_s=st.floats(1e9, 1e11),
    anonymous_mb=st.floats(30, 1000),
)


@given(
    job=jobs,
    platform=platforms,
    more=st.integers(0, 4096),
    objective=st.sampled_from(["time", "cost", "memory"]),
    offered=st.lists(st.tuples(runtimes, st.floats(0, 60)), min_size=1, max_size=3),
)
def test_of_equal_runtimes_the_best_is_taken(job, platform, more, objective, offered):
    """No offered one is better alone, the order does not matter, more memory never hurts."""
    time = objective == "time"
    figure = {
        "time": lambda made: made.predicted_s,
        "cost": lambda made: made.gb_s,
        "memory": lambda made: made.workers * made.memory_mb + made.collect_memory_mb,
    }[objective]

    def asked(platform):
        plain = question(job, platform=platform, aims=Aims(optimize=objective))
        return [replace(plain, shipped=shipped, compile_s=s) for shipped, s in offered]

    questions = asked(platform)
    try:
        taken, made = make_plan(questions)
    except PlanError:
        for alone in questions:
            with pytest.raises(PlanError):
                make_plan([alone])
        return
    for alone in questions:
        try:
            least = figure(make_plan([alone])[1])
        except PlanError:
            continue
        assert figure(made) <= (as_good(least) if time else least)
    assert make_plan(questions) == (taken, made)
    assert figure(make_plan(questions[::-1])[1]) == figure(made)
    roomier = replace(
        platform,
        memory_max_mb=platform.memory_max_mb + more,
        pool_memory_mb=platform.pool_memory_mb and platform.pool_memory_mb + more,
    )
    # More batches fit whole then, which costs memory where it saves time.
    more_room = make_plan(asked(roomier))[1]
    assert not time or figure(more_room) <= as_good(figure(made))


def test_the_compilers_time_counts_until_it_has_compiled():
    job = TrainJob(dataset="mnist", epochs=1, workers=1)
    framework = question(job, dataset(train=2000))
    kept = replace(framework, shipped=COMPILED.costs)
    new = replace(kept, compile_s=9.0)
    assert make_plan([framework, kept])[0] is kept
    assert make_plan([kept])[1].predicted_s == pytest.approx(make_plan([new])[1].predicted_s - 9)
    taken, made = make_plan([framework, new])
    assert taken is framework
    why = {option.why for option in made.considered if option.runtime == "compiled"}
    assert "slower: 9 s to compile it the first time" in why
    long = replace(job, epochs=50)
    assert make_plan([replace(q, job=long, dataset=dataset()) for q in (framework, kept)])[0] == (
        replace(framework, job=long, dataset=dataset())
    )


def test_the_faster_runtime_is_taken_where_it_fits_and_all_are_shown():
    small = replace(TENSORFLOW.costs, anonymous_mb=60, mapped_mb=20, cold_start_s=20)
    heavy, light = question(), question()
    light = replace(light, shipped=small)
    assert make_plan([heavy, light])[0] is heavy
    assert make_plan([light, heavy])[0] is heavy
    assert len(make_plan([heavy, light])[1].considered) == 2 * len(plan().considered)
    tight = Limits(memory_max_mb=256)
    asked = [replace(q, limits=tight) for q in (heavy, light)]
    taken, made = make_plan(asked)
    assert taken is asked[1]
    assert made.memory_mb <= 256
    with pytest.raises(InsufficientMemory, match=r"80 for the framework.* and 64 MB is the limit"):
        make_plan([replace(q, limits=Limits(memory_max_mb=64)) for q in (heavy, light)])


@pytest.mark.parametrize("containers", [None, 1, 2, 4, 7, 16])
@pytest.mark.parametrize("compile_s", [0.0, 9.0])
@pytest.mark.parametrize("optimize", ["time", "memory", "cost"])
def test_a_federation_has_one_runtime_on_any_number_of_containers(containers, compile_s, optimize):
    def taken(containers, compile_s):
        federation = Federation(
            rounds=3, work=lambda count: (ClientWork(200 // count, 10),) * count
        )
        job = TrainJob(dataset="mnist", workers=containers, clients=16)
        asked = question(
            *(job, dataset(train=2000)), federation=federation, aims=Aims(optimize=optimize)
        )
        runtimes = [TENSORFLOW.costs, TORCH.costs, COMPILED.costs]
        offered = [replace(asked, shipped=costs) for costs in runtimes]
        offered[-1] = replace(offered[-1], compile_s=compile_s)
        return make_plan(offered)[1].runtime

    assert taken(containers, compile_s) == taken(1, 0.0)


@pytest.mark.parametrize(("deadline_s", "told"), [(None, False), (0.1, True), (600.0, False)])
def test_a_deadline_that_no_container_can_keep_is_told(deadline_s, told):
    federation = Federation(
        rounds=3, work=lambda count: (ClientWork(5, 64),) * count, deadline_s=deadline_s
    )
    job = TrainJob(dataset="mnist", workers=2, clients=4)
    asked = question(job, dataset(train=2000), federation=federation)
    reasons = make_plan([asked])[1].reasons
    assert any(f"--deadline {deadline_s} is shorter" in one for one in reasons) == told
