"""Plans for platforms that take few invocations a minute."""

import math

from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.throttling import throttled_s
from disdel.types import TrainJob, Validation
from tests.support.planning import capacity, plan

runs = st.fixed_dictionaries(
    {
        "rounds": st.integers(1, 50),
        "invocations": st.integers(1, 40),
        "scores": st.integers(1, 20),
        "score_every": st.integers(1, 10),
        "round_s": st.floats(0.01, 30),
        "start_s": st.floats(0, 30),
    }
)


def total(run):
    scored = math.ceil(run["rounds"] / run["score_every"])
    return run["rounds"] * run["invocations"] + scored * run["scores"]


def lasts_s(run, per_minute):
    """From half a minute before a minute ends to the end of the run."""
    waited_s = throttled_s(**run, per_minute=per_minute)
    return run["rounds"] * run["round_s"] + run["start_s"] + waited_s


@given(run=runs, per_minute=st.integers(1, 300))
def test_a_run_lasts_as_many_minutes_as_its_invocations_need(run, per_minute):
    minutes = math.ceil(total(run) / per_minute)
    if minutes > 1:
        assert lasts_s(run, per_minute) >= 30 + 60 * (minutes - 2)
    else:
        assert throttled_s(**run, per_minute=per_minute) == 0


@given(run=runs, per_minute=st.integers(1, 300))
def test_nothing_waits_where_each_minute_has_room_for_its_rounds(run, per_minute):
    a_round = run["invocations"] + run["scores"]
    run["round_s"] = 60 * a_round / per_minute * 2 + 1
    run["score_every"] = 1
    if a_round * 2 <= per_minute:
        assert throttled_s(**run, per_minute=per_minute) == 0


@given(
    rounds=st.integers(1, 30),
    # Times that floating point adds up exactly, in whatever order.
    invocations=st.sampled_from([1, 2, 4, 8]),
    score_every=st.integers(1, 10),
    round_s=st.integers(1, 1600).map(lambda eighths: eighths / 8),
    start_s=st.integers(0, 200).map(lambda eighths: eighths / 8),
    per_minute=st.integers(1, 60),
)
def test_each_invocation_waits_for_a_minute_that_takes_it(
    rounds, invocations, score_every, round_s, start_s, per_minute
):
    found = throttled_s(
        rounds,
        invocations=invocations,
        scores=invocations,
        score_every=score_every,
        round_s=round_s,
        start_s=start_s,
        per_minute=per_minute,
    )
    # The same, one by one.
    now_s, waited_s, begun = 30.0, 0.0, {}
    for number in range(1, rounds + 1):
        scored = number % score_every == 0 or number == rounds
        count = 2 * invocations if scored else invocations
        for _ in range(count):
            minute = now_s // 60
            if begun.get(minute, 0) == per_minute:
                minute += 1
                waited_s += 60 * minute - now_s
                now_s = 60 * minute
            begun[minute] = begun.get(minute, 0) + 1
            now_s += round_s / count
        now_s += start_s if number == 1 else 0.0
    assert found == waited_s


def limited(per_minute, **job):
    return plan(
        TrainJob(dataset="mnist", epochs=40, workers=2, **job),
        platform=capacity(invokes_per_minute=per_minute),
    )


def test_a_plan_says_how_long_it_waits_for_the_next_minute():
    free, held = limited(6000), limited(10)
    assert free.throttled_s == 0
    assert not any("minute" in reason for reason in free.reasons)
    assert held.throttled_s >= 60 * (held.invocations // 10 - 2) - free.predicted_s
    assert held.predicted_s >= free.predicted_s + 0.9 * held.throttled_s - 60
    assert any("waiting for the next minute" in reason for reason in held.reasons)
    assert any("10 invocations a minute" in reason for reason in held.reasons)


def test_scores_are_fewer_where_invocations_are():
    held = limited(10)
    assert held.score_every > 1
    assert held.invocations < limited(6000).invocations
    assert held.predicted_s < limited(10, validation=Validation(every=1)).predicted_s


def test_scores_that_were_asked_for_or_decide_are_kept():
    assert limited(10, validation=Validation(every=1)).score_every == 1
    assert limited(10, validation=Validation(every=3)).score_every == 3
    assert limited(10, validation=Validation(target_accuracy=0.9)).score_every == 1
    assert limited(10, validation=Validation(patience=2)).score_every == 1


def test_workers_that_would_only_wait_are_not_taken():
    job = TrainJob(dataset="mnist", epochs=40, sync=20)
    free = plan(job, platform=capacity(cpus=8))
    held = plan(job, platform=capacity(cpus=8, invokes_per_minute=60))
    assert held.workers < free.workers
