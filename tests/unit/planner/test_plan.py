from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import InsufficientMemory, PlanError
from disdel.models import built_in
from disdel.planner.advice import suggestions
from disdel.planner.memory import estimate_collect
from disdel.planner.plan import AS_GOOD, make_plan
from disdel.platforms.prices import PUBLISHED, costs, price_given
from disdel.types import Aims, Estimate, Limits, TrainJob, Validation
from disdel.types.units import MIB, mb_ceil
from tests.support.planning import as_good, capacity, dataset, jobs, plan, platforms, question


@given(job=jobs, platform=platforms, train=st.integers(16, 100_000))
def test_a_plan_keeps_every_limit(job, platform, train):
    data = dataset(train=train)
    try:
        made = plan(job, data, platform=platform)
    except PlanError:
        return
    assert made.memory_mb <= platform.memory_max_mb
    assert made.estimate.total <= made.memory_mb * MIB
    together = made.workers * made.memory_mb + made.collect_memory_mb
    assert together <= (platform.pool_memory_mb or together)
    assert made.gpu_actions is None or made.workers <= made.gpu_actions
    assert made.workers <= platform.concurrency
    assert made.timeout_s <= platform.timeout_max_s
    assert sum(made.client_samples) == train
    batch = min(job.batch_size, train)
    assert made.workers == 1 or max(made.client_samples) >= batch
    assert job.workers in (None, made.workers)


@given(job=jobs, platform=platforms, more=st.integers(0, 4096))
def test_more_memory_never_makes_a_plan_impossible_or_slower(job, platform, more):
    roomier = capacity(
        memory_max_mb=platform.memory_max_mb + more,
        pool_memory_mb=platform.pool_memory_mb and platform.pool_memory_mb + more,
        concurrency=platform.concurrency,
        cpus=platform.cpus,
        gpu_memory_mb=platform.gpu_memory_mb and platform.gpu_memory_mb + more,
    )
    try:
        made = plan(job, platform=platform)
    except PlanError:
        return
    assert plan(job, platform=roomier).predicted_s <= as_good(made.predicted_s)


@given(
    job=jobs,
    platform=platforms,
    limits=st.builds(
        Limits,
        memory_max_mb=st.none() | st.integers(64, 1024),
        pool_memory_mb=st.none() | st.integers(64, 4096),
        timeout_max_s=st.none() | st.floats(0.5, 60),
    ),
    store_mb=st.none() | st.integers(1, 400),
    train=st.integers(16, 100_000),
)
def test_every_suggestion_fits(job, platform, limits, store_mb, train):
    asked = question(job, dataset(train=train), platform, limits=limits, store_mb=store_mb)
    message = ""
    try:
        make_plan([asked])
    except PlanError as error:
        message = str(error)
    offered = suggestions(asked) if message else ()
    for suggestion in offered:
        make_plan([suggestion.question])
    assert bool(offered) == bool(message)
    assert all(suggestion.text in message for suggestion in offered)


@given(job=jobs, platform=platforms)
def test_the_same_question_has_the_same_answer(job, platform):
    def answer():
        try:
            return plan(job, platform=platform)
        except PlanError as error:
            return str(error)

    assert answer() == answer()


def test_no_more_workers_than_cores():
    assert plan(platform=capacity(cpus=2)).workers == 2
    assert plan(platform=capacity(cpus=1)).workers == 1
    assert plan(TrainJob(dataset="mnist", workers=4)).workers == 4


def test_threads_share_the_cores():
    assert plan(TrainJob(dataset="mnist", workers=1), platform=capacity(cpus=4)).threads == 4
    assert plan(TrainJob(dataset="mnist", workers=3), platform=capacity(cpus=4)).threads == 1
    assert plan(platform=capacity(cpus=None)).threads is None


@pytest.mark.parametrize(
    ("sync", "rounds"), [("once", 1), ("epoch", 5), (469, 5), (1000, 3), (2345, 1), (1, 2345)]
)
def test_rounds(sync, rounds):
    # 30,000 samples a worker at batch 64 are 469 steps an epoch.
    assert plan(TrainJob(dataset="mnist", workers=2, sync=sync)).rounds == rounds


def test_too_little_memory_names_need_limit_and_change():
    with pytest.raises(InsufficientMemory) as refused:
        plan(limits=Limits(memory_max_mb=256))
    message = str(refused.value)
    needed = message.split("needs ")[1].split(" MB")[0]
    assert "256 MB is the limit" in message
    assert f"raise --memory-max to {needed}" in message
    # The suggestion is one that works.
    assert plan(limits=Limits(memory_max_mb=int(needed))).memory_mb == int(needed)


def test_too_little_memory_of_the_platform_names_its_setting():
    with pytest.raises(InsufficientMemory, match=r"256 MB is the limit.*whisk\.memory\.max"):
        plan(platform=capacity(memory_max_mb=256))


def test_a_small_pool_takes_fewer_workers_or_says_what_it_needs():
    assert plan(limits=Limits(pool_memory_mb=1000)).workers == 1
    with pytest.raises(InsufficientMemory, match="--pool-memory is 400 MB") as refused:
        plan(limits=Limits(pool_memory_mb=400))
    needed = int(str(refused.value).split("raise --pool-memory to ")[1].split()[0])
    assert plan(limits=Limits(pool_memory_mb=needed)).workers == 1


def test_more_workers_than_samples():
    job = TrainJob(dataset="mnist", workers=20)
    with pytest.raises(
        PlanError, match="--workers 20 is more than the 10 training samples of mnist"
    ):
        plan(job, dataset(train=10))


def test_more_workers_than_the_platform_runs_at_once():
    with pytest.raises(PlanError, match="more than the 30 activations"):
        plan(TrainJob(dataset="mnist", workers=31), platform=capacity(concurrency=30))


def test_a_short_time_limit_is_kept_and_explained():
    made = plan(TrainJob(dataset="mnist", sync="once"), limits=Limits(timeout_max_s=5))
    assert made.timeout_s == 5
    assert any("segments of at most 5 s" in reason for reason in made.reasons)


def test_collect_weights_fits_the_smallest_action_whatever_the_model():
    assert estimate_collect(parts=4).total <= 128 * MIB


@pytest.mark.parametrize("optimize", ["time", "cost", "memory"])
def test_the_objective_is_what_is_least(optimize):
    made = plan(aims=Aims(optimize=optimize), platform=capacity(cpus=8))
    figures = {
        "time": lambda option: option.predicted_s,
        "cost": lambda option: option.gb_s,
        "memory": lambda option: option.pool_mb,
    }
    fitting = [option for option in made.considered if "above" not in option.why]
    [chosen] = [option for option in made.considered if not option.why]
    assert chosen.workers == made.workers
    equal = AS_GOOD if optimize == "time" else 1
    assert figures[optimize](chosen) <= equal * min(map(figures[optimize], fitting))


def test_of_plans_that_are_as_fast_the_one_of_least_memory_is_taken():
    made = plan(platform=capacity(cpus=8))
    [chosen] = [option for option in made.considered if not option.why]
    fitting = [option for option in made.considered if "above" not in option.why]
    as_fast = AS_GOOD * min(option.predicted_s for option in fitting)
    # What is predicted is rounded to a tenth.
    clearly = [option for option in fitting if option.predicted_s < as_fast - 0.1]
    assert chosen.pool_mb <= min(option.pool_mb for option in clearly)
    dearer = [option for option in clearly if option.pool_mb > chosen.pool_mb]
    assert dearer
    assert {option.why for option in dearer if option.predicted_s <= chosen.predicted_s} == {
        "as fast, with more memory"
    }


def test_one_worker_averages_by_itself():
    alone = plan(TrainJob(dataset="mnist", workers=1))
    assert alone.collect_memory_mb == 0
    assert alone.invocations == 3 * alone.rounds
    # It may be joined by others.
    growing = plan(TrainJob(dataset="mnist", workers=1, workers_policy="adapt"))
    assert growing.collect_memory_mb >= 128
    assert plan(TrainJob(dataset="mnist", workers=2)).invocations == 5 * alone.rounds + 1


def test_memory_and_cost_take_fewer_workers_than_time():
    assert plan(platform=capacity(cpus=8)).workers > 1
    assert plan(aims=Aims(optimize="memory"), platform=capacity(cpus=8)).workers == 1


def test_a_large_data_set_goes_to_more_workers_than_cores_when_memory_asks_for_it():
    large = dataset(train=1_000_000)
    whole = plan(data=large)
    assert whole.workers == 2
    tight = capacity(memory_max_mb=whole.memory_mb * 3 // 4)
    assert plan(data=large, platform=tight).workers > 2


def test_others_say_why_they_lost():
    made = plan(limits=Limits(pool_memory_mb=900))
    assert {o.workers: o.why for o in made.considered}[2].endswith(
        "above the 900 MB for containers"
    )
    assert "take turns on 2 CPUs" in {o.workers: o.why for o in plan().considered}[4]


def test_zones_lie_below_the_limit():
    made = plan()
    assert made.zones.killed_below_mb < made.zones.thrashing_below_mb <= made.memory_mb


def test_blocks_are_short_where_time_is():
    slow = TrainJob(dataset="mnist", batch_size=4096)
    assert plan(slow).block_steps == 32
    assert plan(slow, limits=Limits(timeout_max_s=6)).block_steps < 4


def test_redis_must_hold_the_run():
    with pytest.raises(InsufficientMemory, match=r"it has 40 MB left; give Redis .* MB more"):
        plan(store_mb=40)


def test_a_time_limit_below_one_import_and_one_step():
    with pytest.raises(PlanError, match="--timeout-max is 1 s; raise --timeout-max to 5"):
        plan(limits=Limits(timeout_max_s=1))


def test_a_shard_holds_a_batch():
    job = TrainJob(dataset="mnist", workers=30)
    with pytest.raises(PlanError, match=r"more than the 22 batches of 64.*use --batch 32"):
        plan(job, dataset(train=1438), capacity(pool_memory_mb=None))


def test_costs_are_gb_s_and_invocations_at_published_prices():
    made = plan()
    aws = costs(made)[0]
    assert len(costs(made)) == len(PUBLISHED)
    assert aws.usd == pytest.approx(made.gb_s * 0.0000166667 + made.invocations * 0.2e-6)
    [own] = costs(made, [price_given(per_gb_s=2.0, per_invocation=3.0)])
    assert own.usd == pytest.approx(2 * made.gb_s + 3 * made.invocations)


HEAVY = built_in("cnn2", input_shape=(28, 28, 1), classes=10)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_cut_where_memory_is_short_and_only_there(workers):
    def answer(memory_max_mb, model=HEAVY):
        job = TrainJob(dataset="mnist", batch_size=2048, workers=workers)
        limits = Limits(memory_max_mb=memory_max_mb)
        asked = replace(question(job, limits=limits), model=model)
        return make_plan([asked])[1]

    whole = answer(None)
    assert whole.micro_batches == 1
    assert answer(whole.memory_mb).micro_batches == 1
    cut = answer(whole.memory_mb - 256)
    assert cut.micro_batches > 1
    assert cut.memory_mb <= whole.memory_mb - 256
    assert cut.estimate.step < whole.estimate.step
    assert any("cut into" in reason for reason in cut.reasons)
    assert cut.predicted_s >= whole.predicted_s
    with pytest.raises(InsufficientMemory, match="batch"):
        answer(whole.memory_mb - 256, replace(HEAVY, by_sample=False))


def test_a_worker_averages_where_no_container_more_has_room():
    roomy = plan()
    tight = roomy.workers * roomy.memory_mb
    made = plan(limits=Limits(pool_memory_mb=tight))
    assert (made.workers, made.memory_mb) == (roomy.workers, roomy.memory_mb)
    assert made.collect_memory_mb == 0
    assert any("a worker's container averages" in reason for reason in made.reasons)
    whole = plan(limits=Limits(pool_memory_mb=tight + roomy.collect_memory_mb))
    assert whole.collect_memory_mb == roomy.collect_memory_mb


def test_a_validation_split_costs_something_only_where_it_decides():
    plain, own = dataset(train=54_000), replace(dataset(train=54_000), validation_samples=6_000)
    assert plan(data=own) == plan(data=plain)
    decided = plan(TrainJob(dataset="mnist", validation=Validation(patience=3)), own)
    assert sum(part.samples for part in decided.validation_slices) == 6_000
    assert decided.scored_on == "validation"
    # Each worker scores once more, and a container holds its shard and the larger of its slices.
    assert decided.invocations == plan(data=plain).invocations + decided.workers
    assert decided.estimate.data == plan(data=plain).estimate.data
    assert decided.store_mb > plan(data=plain).store_mb


def test_a_batch_beyond_the_samples_is_planned_as_what_a_step_takes():
    whole = plan(TrainJob(dataset="mnist", batch_size=60_000, workers=1))
    beyond = plan(TrainJob(dataset="mnist", batch_size=65_536, workers=1))
    assert beyond.estimate == whole.estimate
    assert (beyond.memory_mb, beyond.predicted_s) == (whole.memory_mb, whole.predicted_s)
    told = "no worker has a full batch of 65536: each step takes all of its samples, 60000"
    assert any(told in reason for reason in beyond.reasons)
    assert not any("full batch" in reason for reason in whole.reasons)


PARTS = ("framework", "data", "model", "step", "margin")


@given(st.tuples(*[st.integers(0, 10**10)] * len(PARTS)))
def test_the_parts_that_are_shown_make_the_sum_that_is(sizes):
    estimate = Estimate(
        **dict(zip(("framework", "data", "model", "step", "margin"), sizes, strict=True))
    )
    shown = estimate.parts_mb
    assert sum(shown) == mb_ceil(estimate.total)
    assert all(abs(mb - size / MIB) < 1 for mb, size in zip(shown, sizes, strict=True))


@pytest.mark.parametrize(
    ("optimize", "memory_max_mb", "share"),
    [("time", 10_240, "a whole one"), ("time", 512, "29% of one"), ("memory", 10_240, "of one")],
)
def test_a_container_with_cpus_of_its_own_is_large_enough_for_one(optimize, memory_max_mb, share):
    own = capacity(cpus=1000, mb_per_cpu=1769, memory_max_mb=memory_max_mb)
    job, aims = TrainJob(dataset="set", workers=2), Aims(optimize=optimize)
    made = plan(job, platform=own, aims=aims)
    shared = plan(job, platform=replace(own, mb_per_cpu=None), aims=aims)
    # Whatever all others have, it has one thread, and more time is expected of a share of a CPU.
    assert made.threads == 1
    assert (made.memory_mb >= 1769) == (share == "a whole one")
    assert made.memory_mb <= memory_max_mb
    assert any(share in reason for reason in made.reasons)
    assert shared.threads == 500
    if share != "a whole one":
        assert made.predicted_s > shared.predicted_s


def test_of_a_thousand_cpus_not_every_number_of_workers_is_weighed():
    thousand = capacity(cpus=1000, concurrency=1000, mb_per_cpu=1769)
    assert len(plan(platform=thousand).considered) < 100
