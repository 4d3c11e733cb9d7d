"""Which runtimes `auto` may take, by what is installed and what the job asks for."""

import pytest

from disdel.controller import planning
from disdel.controller.settings import Settings
from disdel.types import Capacity, DatasetSpec, ModelSpec, TrainJob

DATASET = DatasetSpec(
    name="digits",
    version="1",
    input_shape=(8, 8, 1),
    input_dtype="uint8",
    classes=10,
    train_samples=1438,
    test_samples=359,
)
CNN = ModelSpec(name="cnn", input_shape=(8, 8, 1), classes=10)
FRAMEWORKS = {"keras", "tensorflow", "torch"}
COMPILER = {"jax", "iree.compiler"}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What is asked with only these modules installed: runtime, rank and compile time."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))

    def ask(installed, *, gpu_memory_mb=None, **job):
        monkeypatch.setattr(planning, "find_spec", lambda name: name in installed or None)
        monkeypatch.setattr(planning, "is_compiled", lambda job: job.batch_size == 32)
        capacity = Capacity(
            memory_min_mb=128,
            memory_max_mb=4096,
            timeout_max_s=300.0,
            concurrency=100,
            invokes_per_minute=6000,
            pool_memory_mb=18_000,
            cpus=2,
            gpu_memory_mb=gpu_memory_mb,
        )
        wanted = TrainJob(dataset="digits", **job)
        questions = planning.ask(wanted, DATASET, CNN, capacity, Settings())
        return {q.shipped.name: (q.rank, q.compile_s > 0) for q in questions}

    return ask


def test_without_the_compiler_frameworks_are_taken_in_their_order(asked):
    assert asked(FRAMEWORKS) == {"tensorflow": (0, False), "torch": (1, False)}
    assert asked(set()) == {"tensorflow": (0, False)}


def test_compiled_networks_compete_with_each_and_the_compilers_time_counts_once(asked):
    everything = FRAMEWORKS | COMPILER
    both = {"tensorflow": (0, False), "torch": (1, False)}
    assert asked(everything) == {**both, "compiled": (None, True)}
    assert asked(everything, batch_size=32) == {**both, "compiled": (None, False)}
    assert asked(everything, runtime="tensorflow") == {"tensorflow": (0, False)}


def test_what_compiled_networks_cannot_do_is_not_planned_with_them(asked):
    everything = FRAMEWORKS | COMPILER
    assert "compiled" not in asked(everything, precision="mixed_bfloat16")
    assert "compiled" not in asked(everything, gpu_memory_mb=8192)
