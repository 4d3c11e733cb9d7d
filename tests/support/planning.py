"""Questions for the planner, work to estimate, activations to learn from."""

from hypothesis import strategies as st

from disdel.models import built_in
from disdel.planner.memory import Work
from disdel.planner.plan import AS_GOOD, make_plan
from disdel.planner.question import Question
from disdel.platforms.openwhisk.limits import NAMES
from disdel.runtimes.registry import TENSORFLOW
from disdel.types import Activation, Capacity, TrainJob
from tests.support.specs import dataset_spec

CNN = built_in("cnn", input_shape=(28, 28, 1), classes=10)


def dataset(train=60_000, test=10_000):
    return dataset_spec(
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
        "names": NAMES,
    }
    return Capacity(**(fields | changes))


def question(job=None, data=None, platform=None, **others):
    return Question(
        job=job or TrainJob(dataset="mnist"),
        dataset=data or dataset(),
        model=CNN,
        shipped=TENSORFLOW.costs,
        capacity=platform or capacity(),
        **others,
    )


def plan(*arguments, **others):
    return make_plan([question(*arguments, **others)])[1]


def as_good(predicted_s: float) -> float:
    """What is as fast as this, for the planner; a plan's seconds are rounded to tenths."""
    return predicted_s * AS_GOOD + 0.1


def work(shape=(28, 28, 1), classes=10, model="cnn", **changes):
    spec = built_in(model, input_shape=shape, classes=classes)
    fields = {
        "dataset": dataset_spec(
            name="set",
            version="1.0.0",
            input_shape=shape,
            input_dtype="uint8",
            classes=classes,
            train_samples=60_000,
            test_samples=10_000,
        ),
        "model": spec.facts,
        "label": spec.label,
        "shard_samples": 20_000,
        "test_samples": 2_500,
        "batch_size": 64,
        "epochs": 5,
        "held": TENSORFLOW.costs.held,
    }
    return Work(**(fields | changes))


def activation(**changes):
    fields = {
        "id": "1",
        "action": "train",
        "task": "train",
        "worker": 0,
        "round": 1,
        "segment": 0,
        "attempt": 0,
        "memory_mb": 640,
        "peak_mb": 300,
        "start": "warm",
        "wait_ms": 100,
        "init_ms": 0,
        "duration_ms": 2000,
        "outcome": "ok",
        "working_set_mb": 600,
    }
    return Activation(**(fields | changes))


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
    gpu_memory_mb=st.none() | st.integers(600, 80_000),
)
