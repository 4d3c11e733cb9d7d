"""The Keras trainer against Keras itself; what all trainers do is in `tests/contract`."""

from dataclasses import replace

import numpy as np
import pytest

from disdel.models import built_in
from disdel.models.builtin.keras_models import build_keras_model
from disdel.runtimes.base import split_state
from disdel.runtimes.keras.recipe import recipe_for
from disdel.runtimes.keras.trainer import KerasTrainer
from disdel.types import OPTIMIZERS

pytestmark = pytest.mark.framework

SPEC = built_in("cnn", input_shape=(8, 8, 1), classes=4)


def trainer(optimizer="adam", learning_rate=None, seed=0, **options):
    import keras

    keras.utils.set_random_seed(seed)
    model = build_keras_model(SPEC)
    return KerasTrainer(
        model, optimizer=optimizer, learning_rate=learning_rate, input_dtype="uint8", **options
    )


def compile_plainly(model, optimizer):
    """As `fit` wants it, but without XLA, which takes longer here than all steps."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(optimizer, loss, jit_compile=False)


@pytest.fixture
def block():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 16, 8, 8, 1), np.uint8)
    return x, rng.integers(0, 4, (6, 16)).astype(np.int32)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_those_of_keras_fit(optimizer, block):
    import keras

    x, y = block
    mine = trainer(optimizer, learning_rate=0.01)
    keras.utils.set_random_seed(0)
    theirs = build_keras_model(SPEC)
    reference = keras.optimizers.get(optimizer)
    reference.learning_rate = 0.01
    compile_plainly(theirs, reference)
    loss_sum = mine.train(x, y)
    losses = [theirs.train_on_batch(batch, labels) for batch, labels in zip(x, y, strict=True)]
    weights = [value for name, value in mine.state().items() if name.startswith("model/")]
    for value, variable in zip(weights, theirs.variables, strict=True):
        np.testing.assert_allclose(value, np.asarray(variable), rtol=2e-4, atol=2e-5)
    assert loss_sum == pytest.approx(16 * sum(losses), rel=1e-4)


@pytest.mark.parametrize("parts", [1, 3])
def test_code_of_the_library_need_not_be_converted(parts, block):
    x, y = block
    steps = [trainer(converts=converts) for converts in (True, False)]
    assert steps[0].train(x, y, parts) == steps[1].train(x, y, parts)
    for name, tensor in steps[0].state().items():
        np.testing.assert_array_equal(tensor, steps[1].state()[name])
    assert steps[0].score(x[0], y[0]) == steps[1].score(x[0], y[0])


@pytest.mark.parametrize("parts", [1, 3])
def test_conditions_and_loops_of_a_users_code_are_the_graphs(parts, block):
    import tensorflow as tf

    def augment(x, y):
        if tf.reduce_sum(tf.cast(y, tf.int32)) < 0:
            x = 1 - x
        for _ in tf.range(2):
            x = x + 1
        return x, y

    x, y = block
    recipe = replace(recipe_for("class", probabilities=True), augment=augment)
    mine, plain = trainer(recipe=recipe), trainer()
    loss = mine.train(x, y, parts)
    assert np.isfinite(loss)
    assert loss != plain.train(x, y, parts)


@pytest.mark.parametrize(("optimizer", "parts"), [*((o, 1) for o in OPTIMIZERS), ("adam", 2)])
def test_a_learning_rate_for_each_step(optimizer, parts, block):
    import keras

    x, y = block
    factors = np.array([0.5, 1.0, 0.25, 2.0, 0.1, 1.0], np.float32)
    mine = trainer(optimizer, learning_rate=0.01)
    mine.train(x, y, parts, factors)
    keras.utils.set_random_seed(0)
    theirs = build_keras_model(SPEC)
    reference = keras.optimizers.get(optimizer)
    compile_plainly(theirs, reference)
    for batch, labels, factor in zip(x, y, factors, strict=True):
        reference.learning_rate = 0.01 * factor
        theirs.train_on_batch(batch, labels)
    weights = split_state(mine.state())[0]
    for value, variable in zip(weights.values(), theirs.variables, strict=True):
        np.testing.assert_allclose(value, np.asarray(variable), rtol=1e-3, atol=5e-5)
    # The next block without factors has the rate that was asked for again.
    mine.train(x[:1], y[:1])
    rate = next(value for name, value in mine.state().items() if name.endswith("learning_rate"))
    assert rate == np.float32(0.01)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_without_the_optimizer_starts_it_anew(optimizer, block):
    x, y = block
    used = trainer(optimizer)
    fresh = {name: value.copy() for name, value in used.state().items()}
    used.train(x, y)
    used.load_state(split_state(fresh)[0])
    for name, value in used.state().items():
        assert value.tobytes() == fresh[name].tobytes(), name


def test_a_state_falls_into_model_and_optimizer():
    state = trainer().state()
    model, optimizer = split_state(state)
    assert model | optimizer == state
    assert {name.split("/")[0] for name in model} == {"model"}
    assert {name.split("/")[0] for name in optimizer} == {"optimizer"}


def test_a_score_counts_what_is_right(block):
    import keras

    x, y = block
    mine = trainer()
    scored = mine.score(x[0], y[0])
    keras.utils.set_random_seed(0)
    probabilities = np.asarray(build_keras_model(SPEC)(x[0].astype("float32")))
    assert scored.correct == (probabilities.argmax(1) == y[0]).sum()
    assert scored.loss_sum == pytest.approx(
        -np.log(probabilities[np.arange(16), y[0]]).sum(), rel=1e-5
    )
