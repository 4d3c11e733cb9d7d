"""The Keras trainer against Keras itself; what all trainers do is in `tests/contract`."""

import numpy as np
import pytest

from disdel.catalog.models.keras_models import build_keras_model
from disdel.training.keras_adapter import KerasTrainer
from disdel.types import OPTIMIZERS, ModelSpec

pytestmark = pytest.mark.framework

SPEC = ModelSpec(name="cnn", input_shape=(8, 8, 1), classes=4)


def trainer(optimizer="adam", learning_rate=None, seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    model = build_keras_model(SPEC, input_dtype="uint8")
    return KerasTrainer(
        model, optimizer=optimizer, learning_rate=learning_rate, input_dtype="uint8"
    )


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
    theirs = build_keras_model(SPEC, input_dtype="uint8")
    reference = keras.optimizers.get(optimizer)
    reference.learning_rate = 0.01
    theirs.compile(reference, keras.losses.SparseCategoricalCrossentropy())
    loss_sum = mine.train(x, y)
    losses = [theirs.train_on_batch(batch, labels) for batch, labels in zip(x, y, strict=True)]
    weights = [value for name, value in mine.state().items() if name.startswith("model/")]
    for value, variable in zip(weights, theirs.variables, strict=True):
        np.testing.assert_allclose(value, np.asarray(variable), rtol=2e-4, atol=2e-5)
    assert loss_sum == pytest.approx(16 * sum(losses), rel=1e-4)


def test_a_score_counts_what_is_right(block):
    import keras

    x, y = block
    mine = trainer()
    loss_sum, correct = mine.score(x[0], y[0])
    keras.utils.set_random_seed(0)
    probabilities = np.asarray(build_keras_model(SPEC, input_dtype="uint8")(x[0].astype("float32")))
    assert correct == (probabilities.argmax(1) == y[0]).sum()
    assert loss_sum == pytest.approx(-np.log(probabilities[np.arange(16), y[0]]).sum(), rel=1e-5)
