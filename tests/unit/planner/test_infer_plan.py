import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import InsufficientMemory, PlanError, UsageError
from disdel.planner.infer_plan import BATCH_SIZE, InferQuestion, make_infer_plan
from disdel.runtimes.registry import TENSORFLOW
from disdel.types import Aims, Limits, ModelFacts
from disdel.types.units import MIB
from tests.support.planning import CNN, capacity, dataset


def question(**changes):
    fields = {
        "dataset": dataset(),
        "shipped": TENSORFLOW.costs,
        "capacity": capacity(),
        "samples": 10_000,
        "model_bytes": 2_800_000,
        "facts": CNN.facts,
    }
    return InferQuestion(**(fields | changes))


def plan(**changes):
    return make_infer_plan(question(**changes))


def network(**changes):
    fields = {
        "parameters": 10**6,
        "activations": 10**6,
        "outputs": 10**6,
        "largest": 10**4,
        "layers": 5,
        "multiply_adds": 10**8,
    }
    return ModelFacts(**(fields | changes))


networks = st.none() | st.builds(
    ModelFacts,
    parameters=st.integers(1, 10**8),
    activations=st.integers(1, 10**8),
    outputs=st.integers(1, 10**8),
    largest=st.integers(1, 10**7),
    layers=st.integers(1, 500),
    multiply_adds=st.integers(1, 10**10),
)
questions = st.builds(
    question,
    capacity=st.builds(
        capacity,
        memory_max_mb=st.integers(256, 4096),
        pool_memory_mb=st.none() | st.integers(512, 40_000),
        concurrency=st.integers(1, 100),
        cpus=st.none() | st.integers(1, 64),
        timeout_max_s=st.floats(1, 300),
    ),
    samples=st.integers(1, 10**6),
    model_bytes=st.integers(1, 300 * MIB),
    facts=networks,
    workers=st.none() | st.integers(1, 64),
    aims=st.builds(Aims, optimize=st.sampled_from(["time", "cost", "memory"])),
    store_mb=st.none() | st.integers(1, 4000),
)


@given(asked=questions)
def test_a_plan_keeps_every_limit(asked):
    try:
        made = make_infer_plan(asked)
    except PlanError:
        return
    assert made.memory_mb * MIB >= made.estimate.total
    assert made.memory_mb <= asked.memory_max_mb
    assert made.workers * made.memory_mb <= asked.pool_mb
    assert made.workers <= asked.capacity.concurrency
    assert made.timeout_s <= asked.timeout_max_s
    assert 1 <= made.batch_size <= BATCH_SIZE
    assert asked.workers in (None, made.workers)
    assert len(made.slices) == made.workers == made.invocations
    positions = [position for part in made.slices for position in (part.start, part.stop)]
    assert positions[0] == 0
    assert positions[-1] == asked.samples
    assert all(part.samples for part in made.slices)


@given(asked=questions, more=st.integers(1, 4096))
def test_more_memory_never_makes_a_plan_impossible(asked, more):
    try:
        make_infer_plan(asked)
    except PlanError:
        return
    larger = asked.capacity.memory_max_mb + more
    roomier = dataclasses.replace(asked.capacity, memory_max_mb=larger)
    make_infer_plan(dataclasses.replace(asked, capacity=roomier))


@given(asked=questions)
def test_the_same_question_has_the_same_plan(asked):
    def outcome():
        try:
            return make_infer_plan(asked)
        except PlanError as error:
            return str(error)

    assert outcome() == outcome()


@given(samples=st.integers(10_000, 10**6))
def test_memory_hardly_depends_on_how_many_samples_are_streamed(samples):
    few, many = plan(samples=10_000), plan(samples=samples)
    # What grows is their probabilities, and a chunk of them on its way to the store.
    grown = many.estimate.total - few.estimate.total
    assert grown <= 1.05 * (samples * 10 * 4 + 16 * MIB)


def test_work_that_pays_for_it_is_shared_and_a_handful_of_samples_is_not():
    assert plan(samples=100_000).workers == 2
    assert plan(samples=100).workers == 1
    assert plan(samples=100_000, aims=Aims(optimize="memory")).workers == 1


def test_a_large_network_gets_smaller_batches_instead_of_more_memory():
    huge = network(largest=300_000)
    made = plan(facts=huge)
    assert made.batch_size == 16
    assert made.estimate.step < 100 * MIB
    assert any("batches of 16, not 128" in reason for reason in made.reasons)


def test_short_memory_is_met_by_smaller_batches_too():
    wide = network(largest=30_000)
    roomy = plan(facts=wide)
    tight = plan(facts=wide, limits=Limits(memory_max_mb=roomy.memory_mb - 1))
    assert tight.memory_mb < roomy.memory_mb
    assert tight.batch_size < roomy.batch_size


def test_a_network_that_only_its_file_is_known_of_is_guessed_and_said_to_be():
    made = plan(facts=None)
    assert "guessed from its file" in made.basis
    assert "guessed" not in plan().basis


def test_the_message_has_every_limit_in_the_way_and_what_lifts_them():
    limits = Limits(memory_max_mb=256, timeout_max_s=1)
    with pytest.raises(InsufficientMemory) as refused:
        plan(limits=limits)
    message = str(refused.value)
    assert "256 MB is the limit; raise --memory-max to " in message
    assert "1 s is the time limit; raise --timeout-max to " in message
    need_mb = int(message.split("raise --memory-max to ")[1].split(";")[0])
    need_s = int(message.split("raise --timeout-max to ")[1].split(";")[0])
    assert plan(limits=Limits(memory_max_mb=need_mb, timeout_max_s=need_s)).memory_mb == need_mb


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workers": 11, "samples": 10}, "--workers 11 is more than the 10 samples"),
        (
            {"workers": 101, "capacity": capacity(pool_memory_mb=None)},
            "--workers 101 is more than the 100 activations",
        ),
        ({"workers": 100}, "use fewer --workers, or raise the platform's user memory to"),
        ({"limits": Limits(pool_memory_mb=300)}, "raise --pool-memory to"),
        ({"store_mb": 5}, "give Redis 6 MB more"),
        ({"capacity": capacity(memory_max_mb=512), "model_bytes": 10**8}, "whisk.memory.max"),
    ],
)
def test_what_is_in_the_way_is_named(changes, told):
    with pytest.raises(PlanError, match=told):
        plan(**changes)


def test_a_long_shard_is_cut_at_the_time_limit():
    slow = network(multiply_adds=10**9)
    made = plan(facts=slow, samples=10**6)
    assert made.timeout_s == 300
    assert any("cut into segments of at most 300 s" in reason for reason in made.reasons)


def test_no_workers_are_no_plan():
    with pytest.raises(UsageError, match="at least 1"):
        question(workers=0)
