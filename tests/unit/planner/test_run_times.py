"""What whole runs were seen to take, in the plans of later ones."""

from dataclasses import replace

import pytest

from disdel.controller.planning.planning import observe
from disdel.planner.observations import Observation
from disdel.planner.plan import make_plan
from disdel.planner.question import ClientWork, Federation
from disdel.planner.timing import step_s
from disdel.runtimes.registry import TENSORFLOW, TORCH
from disdel.types import TrainJob
from disdel.types.phases import Phases
from disdel.types.report import Times
from tests.support.planning import CNN, activation, plan, question

SEEN = Observation(
    model="cnn-28x28x1-10",
    batch_size=64,
    shard_samples=30_000,
    threads=1,
    predicted_mb=80.0,
    working_set_mb=300,
    step_s=0.004,
    shipped_step_s=step_s(TENSORFLOW.costs, CNN.facts, 64, 1),
    workers=2,
    outside_s=3.0,
    rest_s=0.2,
)
JOB = TrainJob(dataset="mnist", batch_size=64, epochs=5, workers=2, precision="float32")


def test_a_run_is_planned_to_take_what_one_like_it_took():
    # 469 steps a round of 4 ms each.
    assert plan(JOB, observations=(SEEN,)).predicted_s == pytest.approx(
        3.0 + 5 * (469 * 0.004 + 0.2), abs=0.06
    )
    # Of other runs, steps and what is outside of rounds are known, and not the rest.
    for other in (replace(SEEN, workers=1), replace(SEEN, scored_rounds=0.2)):
        unseen = plan(JOB, observations=(other,)).predicted_s
        assert unseen == plan(JOB, observations=(replace(SEEN, rest_s=None),)).predicted_s
        later = plan(JOB, observations=(replace(other, outside_s=13.0),)).predicted_s
        assert later == pytest.approx(unseen + 10, abs=0.11)


def test_another_runtime_must_be_clearly_faster_than_one_that_was_seen():
    def chosen(slowness):
        job = replace(JOB, workers=None)
        mine = question(job, observations=(SEEN,))
        other = replace(question(job), shipped=TORCH.costs, slowness=slowness)
        return make_plan([mine, other])

    asked, made = chosen(0.2)
    alone = make_plan([replace(question(JOB), shipped=TORCH.costs, slowness=0.2)])[1]
    assert (asked.shipped.name, made.predicted_s) == ("torch", alone.predicted_s)
    seen_s = plan(JOB, observations=(SEEN,)).predicted_s
    slowness = next(
        s / 100
        for s in range(20, 100)
        if make_plan([replace(question(JOB), shipped=TORCH.costs, slowness=s / 100)])[1].predicted_s
        > 0.85 * seen_s
    )
    assert chosen(slowness)[0].shipped.name == "tensorflow"


def test_a_busy_machine_is_no_reason_to_try_another_runtime():
    """What was seen there is slow, and what is predicted of others is of an idle one."""

    def chosen(busy):
        slow = replace(
            SEEN, step_s=busy * SEEN.step_s, outside_s=busy * 3.0, rest_s=busy * SEEN.rest_s
        )
        mine = question(replace(JOB, workers=None), slowness=0.56, observations=(slow,))
        other = replace(mine, shipped=TORCH.costs, observations=())
        return make_plan([mine, other])[0].shipped.name

    assert {chosen(busy) for busy in (1, 3, 10)} == {"tensorflow"}


def test_steps_that_nobody_has_seen_are_scaled_by_the_processor():
    half, whole = (plan(JOB, slowness=s).predicted_s for s in (0.5, 1.0))
    assert half < whole
    # What was seen says more.
    assert plan(JOB, slowness=0.5, observations=(SEEN,)) == plan(JOB, observations=(SEEN,))
    # A federation has one runtime on a seed, whatever the processor.
    alone = Federation(rounds=1, work=lambda count: (ClientWork(1, 64),) * count)
    asked = replace(question(JOB, slowness=0.5), federation=alone)
    assert asked.on_one_container.slowness == 1.0


def trained(number, worker, began_ms, ended_ms, **changes):
    return activation(
        round=number,
        worker=worker,
        times=Times(submitted_ms=began_ms, started_ms=began_ms, received_ms=ended_ms),
        duration_ms=ended_ms - began_ms,
        phases=Phases(loaded_ms=0, stepped_ms=1, computed_ms=ended_ms - began_ms),
        train_s=(ended_ms - began_ms) / 1000,
        steps=469,
        precision="float32",
        **changes,
    )


def test_a_run_tells_what_it_took_beside_training():
    job = replace(JOB, epochs=2)
    asked = question(job)
    made = plan(job)
    activations = [
        trained(number, worker, began, began + 1000)
        for number, began in ((1, 2500), (2, 3900))
        for worker in (0, 1)
    ]
    # 2.5 s to the first step, and 0.5 after the last; between the rounds 0.4.
    observed = observe(asked, made, activations, 5.4)
    for one in observed:
        assert (one.workers, one.scored_rounds) == (2, 1.0)
        assert (one.outside_s, one.rest_s) == (pytest.approx(3.0), pytest.approx(0.2))
    assert plan(job, observations=observed).predicted_s == pytest.approx(5.4, abs=0.06)
    lost = [*activations, trained(2, 0, 3900, 4000, outcome="error")]
    part = activations[:2]
    for told, wall_s in ((lost, 5.4), (part, 5.4), (activations, None)):
        assert {one.rest_s for one in observe(asked, made, told, wall_s)} == {None}
    # What trying the network out took, the next run need not spend.
    tried = replace(asked, tried_s=2.0)
    told = [one.outside_s for one in observe(tried, made, activations, 7.4)]
    assert told == [pytest.approx(3.0)] * 2
    assert make_plan([tried])[1].predicted_s == pytest.approx(made.predicted_s + 2, abs=0.11)
    compiled = replace(asked, compile_s=4.0)
    assert {one.outside_s for one in observe(compiled, made, activations, 5.4)} == {None}
