"""Networks that standardise inside: trained on raw samples as others are on standardised ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from disdel.data.scaling import scaling_of
from disdel.models import built_in

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RNG = np.random.default_rng(0)
# A large mean, a tiny deviation, and one column that does not vary.
X = np.stack([RNG.normal(1000, 50, 64), RNG.normal(0, 1e-9, 64), np.full(64, 7)], 1)
X = X.astype(np.float32)
CLASSES = (X[:, 0] > 1000).astype(np.int32)
NUMBERS = (500 + 80 * RNG.normal(size=64)).astype(np.float32)
# Two to predict of a sample, in units far apart.
ROWS = np.stack([NUMBERS, RNG.normal(-3, 0.1, 64)], 1).astype(np.float32)


def spec_of(y, *, scales=True):
    numbers = y.dtype.kind == "f"
    return built_in(
        "mlp",
        input_shape=(3,),
        input_dtype="float32",
        classes=0 if numbers else 2,
        target_shape=y.shape[1:],
        scaling=scaling_of(X, y) if scales else None,
    )


def keras_trainer(spec, optimizer="sgd"):
    import keras

    from disdel.models.builtin.keras_models import built_in_network
    from disdel.runtimes.keras.trainer import KerasTrainer

    keras.utils.set_random_seed(0)
    network = built_in_network(spec)
    return KerasTrainer(
        network.model,
        optimizer=optimizer,
        learning_rate=0.01,
        input_dtype="float32",
        recipe=network.recipe,
    )


def torch_trainer(spec):
    import torch

    from disdel.models.builtin.torch_models import TorchNetwork
    from disdel.models.torch_files import write_torch_file
    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.recipe import built_in_recipe
    from disdel.runtimes.torch.trainer import TorchTrainer

    torch.manual_seed(0)
    model = TorchNetwork(spec)
    groups = [Group(keras_rule("sgd", 0.01), dict(model.named_parameters()))]
    return TorchTrainer(
        model,
        optimizer=TorchOptimizer(groups),
        save=lambda path: write_torch_file(model.state_dict(), path, spec),
        recipe=built_in_recipe(spec),
    )


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A trainer of the compiled network of a specification."""
    pytest.importorskip("iree.compiler")
    from disdel.compiler import CompileJob, compile_program
    from disdel.compiler.targets import HOST
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))

    def compiled(spec):
        job = CompileJob(
            model=spec, input_dtype="float32", batch_size=64, optimizer="sgd", targets=HOST
        )
        return CompiledTrainer(compile_program(job), seed=0, learning_rate=0.01, threads=1)

    return compiled


def standardised(x, scaling):
    return (x - np.array(scaling.mean, np.float32)) / np.array(scaling.deviation, np.float32)


def weights(trainer):
    return [
        value
        for name, value in trainer.state().items()
        if name.startswith("model/") and not name.endswith(("mean", "deviation"))
    ]


@pytest.mark.parametrize("make", [keras_trainer, torch_trainer])
def test_raw_samples_train_as_standardised_ones_do(make):
    spec = spec_of(CLASSES)
    raw, plain = make(spec), make(spec_of(CLASSES, scales=False))
    ready = standardised(X, spec.scaling)
    assert np.abs(ready).max() < 5
    for _ in range(5):
        loss = raw.train(X[None], CLASSES[None])
        assert loss == pytest.approx(plain.train(ready[None], CLASSES[None]), rel=1e-4)
    for found, wanted in zip(weights(raw), weights(plain), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert raw.score(X, CLASSES).correct == plain.score(ready, CLASSES).correct


@pytest.mark.parametrize("make", [keras_trainer, torch_trainer])
def test_numbers_are_learnt_standardised_and_predicted_in_their_units(make):
    """With sgd, whose steps depend on the unit of a loss."""
    spec = spec_of(NUMBERS)
    raw, plain = make(spec), make(spec_of(NUMBERS, scales=False))
    ready = standardised(X, spec.scaling)
    z = (NUMBERS - spec.scaling.target_mean) / spec.scaling.target_deviation
    for _ in range(5):
        loss = raw.train(X[None], NUMBERS[None]) / spec.loss.unit
        assert loss == pytest.approx(plain.train(ready[None], z[None]), rel=1e-3)
    for found, wanted in zip(weights(raw), weights(plain), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    scored = raw.score(X, NUMBERS)
    assert scored.loss_sum / len(X) < 1.5 * NUMBERS.var()
    assert scored.metric_sums["mean_absolute_error"] / len(X) < 2 * NUMBERS.std()


@pytest.mark.parametrize("y", [NUMBERS, ROWS], ids=["one", "several"])
def test_pytorch_learns_numbers_as_tensorflow_does(y):
    """From the same weights, in parts of a batch as well as in one."""
    spec = spec_of(y)
    mine, theirs = torch_trainer(spec), keras_trainer(spec)
    names = [name for name in mine.state() if name.endswith(("weight", "bias"))]
    begun = dict(zip(names, weights(theirs), strict=True))
    mine.load_state(mine.state() | {name: np.array(value.T) for name, value in begun.items()})
    for parts in (1, 4):
        loss = mine.train(X[None], y[None], micro_batches=parts)
        assert loss == pytest.approx(theirs.train(X[None], y[None]), rel=1e-4)
    for found, wanted in zip(weights(mine), weights(theirs), strict=True):
        np.testing.assert_allclose(found.T, wanted, atol=1e-4)
    found, wanted = mine.score(X, y), theirs.score(X, y)
    assert found.correct is wanted.correct is None
    assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-4)
    assert found.metric_sums == {
        "mean_absolute_error": pytest.approx(wanted.metric_sums["mean_absolute_error"], rel=1e-4)
    }


@pytest.mark.parametrize("y", [CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_compiled_networks_standardise_as_tensorflow_s_do(compiled, y):
    spec = spec_of(y)
    mine, theirs = compiled(spec), keras_trainer(spec)
    begun = zip(theirs.state().items(), mine.state().values(), strict=True)
    theirs.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
    for _ in range(3):
        assert mine.train(X[None], y[None]) == pytest.approx(theirs.train(X[None], y[None]), 1e-4)
    for found, wanted in zip(weights(mine), weights(theirs), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert mine.score(X, y).loss_sum == pytest.approx(theirs.score(X, y).loss_sum, rel=1e-4)


@pytest.mark.parametrize("y", [CLASSES, NUMBERS, ROWS], ids=["classes", "numbers", "rows"])
def test_a_keras_file_takes_raw_samples_in_plain_keras(tmp_path, y):
    import keras

    trainer = keras_trainer(spec_of(y))
    trainer.train(X[None], y[None])
    trainer.save_model(tmp_path / "model.keras")
    given = np.asarray(keras.saving.load_model(tmp_path / "model.keras")(X))
    if y is not CLASSES:
        squares = float(np.square(given - y.reshape(len(y), -1)).sum()) / (y.size / len(y))
        assert squares == pytest.approx(trainer.score(X, y).loss_sum, rel=1e-4)
    else:
        assert (given.argmax(1) == y).sum() == trainer.score(X, y).correct


@pytest.mark.parametrize("y", [CLASSES, NUMBERS, ROWS], ids=["classes", "numbers", "rows"])
def test_a_pytorch_file_takes_raw_samples(tmp_path, y):
    from safetensors.torch import load_file

    from disdel.worker.model_file import load_predictor

    spec = spec_of(y)
    trainer = torch_trainer(spec)
    trainer.train(X[None], y[None])
    path = Path(tmp_path / "model.safetensors")
    trainer.save_model(path)
    given = load_predictor("torch", path, None)(X)
    if y is not CLASSES:
        assert given.shape == (len(X), y.size // len(y))
        squares = float(np.square(given - y.reshape(len(y), -1)).sum()) / (y.size / len(y))
        assert squares == pytest.approx(trainer.score(X, y).loss_sum, rel=1e-4)
    else:
        assert (given.argmax(1) == y).sum() == trainer.score(X, y).correct
    assert load_file(path)["mean"].tolist() == pytest.approx(list(spec.scaling.mean))


def test_mixed_precision_standardises_in_float32():
    """In bfloat16, a thousand and a thousand and one are the same."""
    import keras
    import tensorflow as tf

    from disdel.models.builtin.keras_models import build_keras_model
    from disdel.runtimes.keras.precision import mixed_bfloat16

    spec = spec_of(NUMBERS)
    spec = replace(spec, scaling=replace(spec.scaling, deviation=(1.0, 1.0, 1.0)))
    keras.utils.set_random_seed(0)
    model = build_keras_model(spec)
    wanted = np.asarray(model(X))
    with mixed_bfloat16(model):
        given = tf.cast(model(X), tf.float32)
    near = 0.02 * np.abs(wanted - spec.scaling.target_mean).max()
    np.testing.assert_allclose(given, wanted, atol=near)
