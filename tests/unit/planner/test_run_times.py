"""What whole runs were seen to take, in the plans of later ones."""

from dataclasses import replace

import pytest

from disdel.controller.planning.observing import observe
from disdel.planner.observations import Observation
from disdel.planner.plan import make_plan
from disdel.planner.question import ClientWork, Federation
from disdel.planner.timing import step_s
from disdel.runtimes.registry import TENSORFLOW, TORCH
from disdel.types import TrainJob, TriedSteps
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
    trace_s=0.0,
    ready_s=2.0,
    begin_s=1.0,
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
        later = plan(JOB, observations=(replace(other, begin_s=11.0),)).predicted_s
        assert later == pytest.approx(unseen + 10, abs=0.11)


def test_rounds_of_a_federation_tell_nothing_of_a_trainings():
    unseen = plan(JOB, observations=(replace(SEEN, rest_s=None),)).predicted_s
    federated = replace(SEEN, rest_s=30.0, federated=True)
    assert plan(JOB, observations=(federated,)).predicted_s == unseen


def test_what_a_users_code_takes_to_load_samples_is_no_other_runs_time():
    of_nothing = replace(SEEN, ready_s=None, begin_s=None, rest_s=None)
    for loaded in (
        replace(SEEN, begin_s=60.0, rest_s=30.0, federated=True, loads=True),
        replace(SEEN, model="mlp-784-10", begin_s=60.0, federated=True, loads=True),
    ):
        known = plan(JOB, observations=(of_nothing, loaded))
        assert known.predicted_s == plan(JOB, observations=(of_nothing,)).predicted_s


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
            SEEN,
            step_s=busy * SEEN.step_s,
            ready_s=busy * SEEN.ready_s,
            begin_s=busy * SEEN.begin_s,
            rest_s=busy * SEEN.rest_s,
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


def trained(number, worker, began_ms, ended_ms, steps=469, **changes):
    """An activation that does nothing but steps, in blocks of 32."""
    spent_ms = ended_ms - began_ms
    return activation(
        round=number,
        worker=worker,
        start="cold" if number == 1 else "warm",
        wait_ms=0,
        times=Times(submitted_ms=began_ms, started_ms=began_ms, received_ms=ended_ms),
        duration_ms=spent_ms,
        phases=Phases(loaded_ms=0, stepped_ms=round(32 * spent_ms / steps), computed_ms=spent_ms),
        train_s=spent_ms / 1000,
        steps=steps,
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
        assert (one.ready_s, one.begin_s) == (pytest.approx(2.5), pytest.approx(0.5))
        assert one.rest_s == pytest.approx(0.2, rel=0.01)
    assert plan(job, observations=observed).predicted_s == pytest.approx(5.4, abs=0.06)
    lost = [*activations, trained(2, 0, 3900, 4000, outcome="error")]
    part = activations[:2]
    for told, wall_s in ((lost, 5.4), (part, 5.4), (activations, None)):
        assert {one.rest_s for one in observe(asked, made, told, wall_s)} == {None}


def test_what_a_command_took_before_its_plan_is_in_it():
    made = plan(JOB, observations=(SEEN,)).predicted_s
    assert plan(JOB, observations=(SEEN,), spent_s=1.5).predicted_s == pytest.approx(made + 1.5)
    # While a network is tried out, containers get ready: at most that is saved.
    for tried_s, hidden_s in ((0.5, 0.5), (2.0, 2.0), (9.0, 2.0)):
        tried = plan(JOB, observations=(SEEN,), spent_s=1.5 + tried_s, tried_s=tried_s)
        assert tried.predicted_s == pytest.approx(made + 1.5 + tried_s - hidden_s, abs=0.11)


@pytest.mark.parametrize("before", [{"tried_s": 2.0}, {"compile_s": 4.0}])
def test_a_start_that_something_else_hid_tells_nothing_of_later_ones(before):
    job = replace(JOB, epochs=2)
    asked = replace(question(job), spent_s=2.4, **before)
    activations = [
        trained(number, worker, began, began + 1000)
        for number, began in ((1, 2500), (2, 3900))
        for worker in (0, 1)
    ]
    for one in observe(asked, plan(job), activations, 5.4):
        assert (one.ready_s, one.begin_s) == (None, pytest.approx(0.5))
        assert (one.cold_start_s is None) == ("tried_s" in before)


@pytest.mark.parametrize("epochs", [2, 4, 20])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_longer_job_takes_as_much_more_as_it_has_rounds(epochs, workers):
    """Whatever a run consists of, and also where its workers take turns on the CPUs."""
    job = replace(JOB, epochs=2, workers=workers)
    steps = -(-60_000 // workers // 64)
    asked, made = replace(question(job), spent_s=0.7), plan(job)
    activations = [
        replace(trained(number, worker, began, began + 2000), steps=steps, train_s=1.9)
        for number, began in ((1, 2500), (2, 4900))
        for worker in range(workers)
    ]
    # Between the two rounds 0.4 s, so that one takes 2.2.
    observed = observe(asked, made, activations, 7.3)
    longer = plan(replace(job, epochs=epochs), observations=observed, spent_s=0.7)
    assert longer.predicted_s == pytest.approx(7.3 + 2.2 * (epochs - 2), rel=0.05)


def test_a_network_that_was_never_run_starts_as_others_did():
    other = replace(SEEN, model="mlp-28x28x1-10", ready_s=7.0, begin_s=4.0)
    seen_s = plan(JOB, observations=(other,)).predicted_s
    slower = replace(other, ready_s=9.0, begin_s=5.0)
    assert plan(JOB, observations=(slower,)).predicted_s == pytest.approx(seen_s + 3, abs=0.11)
    own = (SEEN, slower)
    assert plan(JOB, observations=own).predicted_s == plan(JOB, observations=(SEEN,)).predicted_s


def test_steps_that_were_tried_out_are_planned_until_a_run_has_taken_some():
    tried = TriedSteps(batch_size=64, step_s=0.02, trace_s=1.0)
    alone = replace(JOB, workers=1)
    quick, slow = (
        plan(alone, steps=replace(tried, step_s=step_s)).predicted_s for step_s in (0.02, 0.04)
    )
    # Scores take a third of a step for as many samples.
    scored_s = 5 * 10_000 / 64 / 3 * 0.02
    threads = 2**TENSORFLOW.costs.thread_exponent
    assert slow - quick == pytest.approx((5 * 938 * 0.02 + scored_s) / threads, rel=0.05)
    # Of another batch size, in the proportions of the shipped costs.
    ratio = step_s(TENSORFLOW.costs, CNN.facts, 32, 1) / step_s(TENSORFLOW.costs, CNN.facts, 64, 1)
    half = TriedSteps(batch_size=32, step_s=0.02 * ratio, trace_s=1.0)
    assert plan(alone, steps=half).predicted_s == pytest.approx(quick, abs=0.11)
    later = plan(alone, steps=replace(tried, trace_s=3.0)).predicted_s
    assert later == pytest.approx(quick + 2, abs=0.11)
    assert plan(JOB, steps=tried, observations=(SEEN,)) == plan(JOB, observations=(SEEN,))
    # A federation has one runtime on a seed, whatever was tried.
    assert replace(question(JOB), steps=tried).on_one_container.steps is None


@pytest.mark.parametrize("first_ms", [400, 3000])
@pytest.mark.parametrize("tried", [None, TriedSteps(batch_size=64, step_s=0.01, trace_s=0.5)])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_runs_of_one_block_tell_what_the_next_one_takes(workers, tried, first_ms):
    """Nothing says there what tracing took, and what steps."""
    job = replace(JOB, epochs=1, workers=workers)
    asked = replace(question(job, steps=tried), spent_s=0.7)
    samples = replace(asked.dataset, train_samples=workers * 20 * 64)
    asked = replace(asked, dataset=samples)
    made = make_plan([asked])[1]
    activations = [
        activation(
            round=1,
            worker=worker,
            start="cold",
            wait_ms=0,
            times=Times(submitted_ms=2500, started_ms=2500, received_ms=2500 + first_ms),
            duration_ms=first_ms,
            phases=Phases(loaded_ms=0, stepped_ms=first_ms, computed_ms=first_ms),
            train_s=first_ms / 1000,
            steps=20,
            precision="float32",
        )
        for worker in range(workers)
    ]
    whole_s = 2.5 + first_ms / 1000 + 0.5
    observed = tuple(observe(asked, made, activations, whole_s))
    again = make_plan([replace(asked, observations=observed)])[1]
    assert again.predicted_s == pytest.approx(whole_s, rel=0.05)
    # A container of a federation has a block for each client, and a trial of precisions has traced.
    federation = Federation(rounds=1, work=lambda count: (ClientWork(5, 64),) * count)
    for other in (replace(asked, federation=federation), replace(asked, tries_precision=True)):
        assert {one.first_s for one in observe(other, made, activations, whole_s)} == {None}


def test_workers_that_take_turns_are_not_counted_twice():
    """A step that was seen beside others tells what one takes alone."""
    job = replace(JOB, epochs=2, workers=4)
    activations = [
        trained(number, worker, began, began + 1000)
        for number, began in ((1, 2500), (2, 3900))
        for worker in range(4)
    ]
    observed = observe(question(job), plan(job), activations, 5.4)
    alone_s = step_s(TENSORFLOW.costs, CNN.facts, 64, 1)
    assert [one.shipped_step_s for one in observed] == [pytest.approx(2 * alone_s)] * 4
