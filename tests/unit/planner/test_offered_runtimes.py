"""Which runtimes `auto` may take, by what is installed and what the job asks for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from disdel.controller.planning import planning
from disdel.controller.planning.networks import Chosen
from disdel.errors import UsageError
from disdel.models import built_in
from disdel.runtimes import runtime
from disdel.settings import Settings
from disdel.types import (
    CallMemory,
    Capacity,
    CodeRef,
    ModelFacts,
    TrainJob,
    target_of,
)
from tests.support.specs import dataset_spec, own_model

DATASET = dataset_spec(
    name="digits",
    version="1",
    input_shape=(8, 8, 1),
    input_dtype="uint8",
    classes=10,
    train_samples=1438,
    test_samples=359,
)
CNN = built_in("cnn", input_shape=(8, 8, 1), classes=10)
COMPILED = SimpleNamespace(memory=CallMemory(train_bytes=90, score_bytes=40), steps=None)
FACTS = ModelFacts(
    parameters=90, activations=99, outputs=90, largest=64, layers=2, multiply_adds=90
)
FRAMEWORKS = {"keras", "tensorflow", "torch"}
COMPILER = {"async_timeout", "h5py", "iree.compiler", "iree.runtime", "jax"}


def own(home):
    """A network of the user's, of that runtime's framework."""
    code = CodeRef(entry="net.py:f", source="net.py", function="f", requirements=(), digest="0")
    return own_model(input_shape=(8, 8, 1), classes=10, code=code, home=home, facts=FACTS)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What is asked with only these modules installed: runtimes, and whether they compile."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))

    def ask(installed, *, model=CNN, gpu_memory_mb=None, **job):
        monkeypatch.setattr(runtime, "find_spec", lambda name: name in installed or None)
        monkeypatch.setattr(
            planning, "known_program", lambda job: COMPILED if job.batch_size == 32 else None
        )
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
        questions = planning.ask(wanted, DATASET, Chosen(model), capacity, Settings())
        ask.notes = {q.shipped.name: q.notes for q in questions}
        return {q.shipped.name: q.compile_s > 0 for q in questions}

    return ask


def test_frameworks_that_are_installed_compete_and_tensorflow_stands_for_none(asked):
    assert asked(FRAMEWORKS) == {"tensorflow": False, "torch": False}
    assert asked(set()) == {"tensorflow": False}


def test_code_of_ones_own_in_actions_is_not_compiled_unasked(asked, tmp_path):
    """It may call what a compiled action's numpy has not."""
    (tmp_path / "mine.py").write_text(
        "import disdel\n\n\nclass Mine(disdel.strategies.FedAvg):\n    pass\n"
    )
    mine = f"{tmp_path}/mine.py:Mine"
    assert set(asked(FRAMEWORKS | COMPILER, strategy=mine)) == {"tensorflow", "torch"}
    assert set(asked(FRAMEWORKS | COMPILER, strategy=mine, runtime="compiled")) == {"compiled"}
    assert "np.dot" in asked.notes["compiled"][0]
    assert "compiled" in asked(FRAMEWORKS | COMPILER)
    assert asked.notes["compiled"] == ()


def test_compiled_networks_compete_with_each_and_the_compilers_time_counts_once(asked):
    everything = FRAMEWORKS | COMPILER
    both = {"tensorflow": False, "torch": False}
    assert asked(everything) == {**both, "compiled": True}
    assert asked(everything, batch_size=32) == {**both, "compiled": False}
    assert asked(everything, runtime="tensorflow") == {"tensorflow": False}


def test_what_compiled_networks_cannot_do_is_not_planned_with_them(asked):
    everything = FRAMEWORKS | COMPILER
    assert "compiled" not in asked(everything, precision="bfloat16")
    assert "compiled" not in asked(everything, gpu_memory_mb=8192)


def test_built_in_networks_predict_numbers_on_each_runtime(asked):
    everything = FRAMEWORKS | COMPILER
    numbers = built_in("cnn", input_shape=(8, 8, 1), classes=0)
    assert asked(everything, model=numbers) == {"tensorflow": False, "torch": False}
    assert asked({"torch"}, model=numbers) == {"torch": False}
    for name in ("tensorflow", "torch", "compiled"):
        assert list(asked(everything, model=numbers, runtime=name)) == [name]


def test_targets_with_axes_are_learnt_where_they_can_be(asked):
    everything = FRAMEWORKS | COMPILER
    rows = built_in("mlp", input_shape=(4,), classes=0, target_shape=(3,))
    assert asked(everything, model=rows) == {"tensorflow": False, "torch": False}
    with pytest.raises(UsageError, match="this data set has 3 of them: take --runtime tensorflow"):
        asked(everything, model=rows, runtime="compiled")
    masks = replace(own("tensorflow"), targets=(target_of(2, (8, 8)),))
    with pytest.raises(UsageError, match="this data set has 8×8 of them"):
        asked(everything, model=masks, runtime="compiled")


def test_own_keras_models_are_compiled_for_who_asks(asked):
    everything = FRAMEWORKS | COMPILER
    keras = own("tensorflow")
    assert asked(everything, model=keras) == {"tensorflow": False}
    assert asked(everything, model=keras, runtime="compiled") == {"compiled": True}
    with pytest.raises(UsageError, match=r"net\.py:f returns a PyTorch module.* compiled does not"):
        asked(everything, model=own("torch"), runtime="compiled")


def test_the_proxy_of_a_stock_image_is_in_the_estimate_of_compiled_actions(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(planning, "known_program", lambda job: COMPILED)
    capacity = Capacity(
        memory_min_mb=128,
        memory_max_mb=512,
        timeout_max_s=300.0,
        concurrency=30,
        invokes_per_minute=60,
        kinds=("python:3.11",),
    )
    job = TrainJob(dataset="digits", runtime="compiled", workers=2)

    def floor_mb(settings):
        [question] = planning.ask(job, DATASET, Chosen(CNN), capacity, settings)
        return question.runtime.floor_mb

    cluster = Settings(apihost="http://127.0.0.1:3233", auth="a:b")
    assert floor_mb(cluster) - floor_mb(Settings()) >= 27
