"""What a Keras model computes in while it trains in mixed precision, and what stays of it."""

import numpy as np
import pytest

from disdel.runtimes.keras.precision import mixed_bfloat16

pytestmark = pytest.mark.framework


@pytest.fixture
def model():
    """A layer of the default policy, one that the user wants in float64, and a softmax; nested."""
    import keras

    inner = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="plain"),
            keras.layers.Dense(6, name="wanted", dtype="float64"),
        ]
    )
    outer = keras.Input((4,))
    outputs = keras.layers.Dense(3, activation="softmax", name="last")(inner(outer))
    return keras.Model(outer, outputs)


def policies(model):
    return {layer.name: layer.dtype_policy.name for layer in model._flatten_layers()}


def test_all_layers_but_the_last_and_those_of_another_policy(model):
    with mixed_bfloat16(model):
        inside = policies(model)
        outputs = model(np.ones((2, 4), np.float32))
    chosen = {name: inside[name] for name in ("plain", "wanted", "last")}
    assert chosen == {"plain": "mixed_bfloat16", "wanted": "float64", "last": "float32"}
    assert outputs.dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32", "float64"}


def test_nothing_stays_after_the_call(model):
    import keras

    before = policies(model)

    def fail():
        with mixed_bfloat16(model):
            assert policies(model) != before
            assert keras.config.dtype_policy().name == "float32"
            raise ValueError("out of it")

    with pytest.raises(ValueError, match="out of it"):
        fail()
    assert policies(model) == before
