import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import InsufficientMemory, PlanError
from disdel.scheduler.memory import estimate_collect, estimate_train
from disdel.scheduler.plan import make_plan
from disdel.scheduler.runtimes import TENSORFLOW
from disdel.types import Capacity, DatasetSpec, Limits, ModelFacts, TrainJob

CNN = ModelFacts(parameters=693_962, activations=30_000, multiply_adds=890_000)


def dataset(train=60_000, test=10_000):
    return DatasetSpec(
        name="mnist",
        version="3.0.1",
        input_shape=(28, 28, 1),
        input_dtype="uint8",
        classes=10,
        train_samples=train,
        test_samples=test,
    )


def capacity(**changes):
    fields = {
        "memory_min_mb": 128,
        "memory_max_mb": 4096,
        "timeout_max_s": 300.0,
        "concurrency": 100,
        "invokes_per_minute": 6000,
        "pool_memory_mb": 18_000,
        "cpus": 2,
    }
    return Capacity(**(fields | changes))


def plan(job=None, data=None, model=CNN, platform=None, limits=None):
    return make_plan(
        job or TrainJob(dataset="mnist"),
        data or dataset(),
        model,
        TENSORFLOW,
        platform or capacity(),
        limits or Limits(),
    )


jobs = st.builds(
    TrainJob,
    dataset=st.just("mnist"),
    batch_size=st.integers(1, 512),
    epochs=st.integers(1, 50),
    workers=st.none() | st.integers(1, 16),
    sync=st.sampled_from(["epoch", "once"]) | st.integers(1, 500),
)
platforms = st.builds(
    capacity,
    memory_max_mb=st.integers(256, 4096),
    pool_memory_mb=st.none() | st.integers(512, 40_000),
    concurrency=st.integers(1, 100),
    cpus=st.none() | st.integers(1, 64),
)


@given(job=jobs, platform=platforms, train=st.integers(16, 100_000))
def test_a_plan_keeps_every_limit(job, platform, train):
    data = dataset(train=train)
    try:
        made = plan(job, data, platform=platform)
    except PlanError:
        return
    assert made.memory_mb <= platform.memory_max_mb
    assert made.estimate.total <= made.memory_mb
    together = made.workers * made.memory_mb + made.collect_memory_mb
    assert together <= (platform.pool_memory_mb or together)
    assert made.workers <= platform.concurrency
    assert made.timeout_s <= platform.timeout_max_s
    assert sum(shard.samples for shard in made.shards) == train
    assert min(shard.samples for shard in made.shards) >= 1
    assert job.workers in (None, made.workers)


@given(job=jobs, platform=platforms, more=st.integers(0, 4096))
def test_more_memory_never_makes_a_plan_impossible(job, platform, more):
    roomier = capacity(
        memory_max_mb=platform.memory_max_mb + more,
        pool_memory_mb=platform.pool_memory_mb and platform.pool_memory_mb + more,
        concurrency=platform.concurrency,
        cpus=platform.cpus,
    )
    try:
        made = plan(job, platform=platform)
    except PlanError:
        return
    assert plan(job, platform=roomier).predicted_s <= made.predicted_s


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
    with pytest.raises(InsufficientMemory, match=r"512 MB is the limit.*whisk\.memory\.max"):
        plan(platform=capacity(memory_max_mb=512))


def test_a_small_pool_takes_fewer_workers_or_says_what_it_needs():
    assert plan(limits=Limits(pool_memory_mb=1200)).workers == 1
    with pytest.raises(InsufficientMemory, match="--pool-memory is 700 MB") as refused:
        plan(limits=Limits(pool_memory_mb=700))
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
    made = plan(limits=Limits(timeout_max_s=2))
    assert made.timeout_s == 2
    assert any("segments of at most 2 s" in reason for reason in made.reasons)


@given(samples=st.integers(0, 100_000), batch=st.integers(1, 1024), more=st.integers(0, 10_000))
def test_an_estimate_grows_with_the_work(samples, batch, more):
    def total(samples, batch):
        return estimate_train(
            TENSORFLOW, dataset(), CNN, shard_samples=samples, test_samples=100, batch_size=batch
        ).total

    assert total(samples + more, batch) >= total(samples, batch)
    assert total(samples, batch + more) >= total(samples, batch)


def test_collect_weights_fits_the_smallest_action_whatever_the_model():
    assert estimate_collect(workers=4).total <= 128
