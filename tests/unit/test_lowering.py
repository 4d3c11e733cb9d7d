"""The lowered forms against XLA's own, values and gradients."""

import numpy as np
import pytest

from disdel.errors import UsageError

pytestmark = pytest.mark.framework


@pytest.fixture(autouse=True)
def lax():
    """Imported by these tests alone: it would grow every other's process."""
    pytest.importorskip("jax")
    from jax import lax

    return lax


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agree(mine, theirs, *arguments):
    """Both functions give the same, and the same gradients of a weighted sum."""
    import jax

    value = theirs(*arguments)
    weights = normal(*value.shape, seed=9)
    np.testing.assert_allclose(mine(*arguments), value, rtol=1e-4, atol=1e-5)
    every = tuple(range(len(arguments)))

    def gradients(function):
        return jax.grad(lambda *a: (function(*a) * weights).sum(), every)(*arguments)

    for found, wanted in zip(gradients(mine), gradients(theirs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding"),
    [(3, (1, 1), "VALID"), (3, (2, 2), "SAME"), (1, (2, 2), "VALID"), (5, (1, 2), "SAME")],
)
def test_a_convolution_is_that_of_xla(lax, kernel, strides, padding):
    from disdel.compiler.lowering import convolution

    x, weights, bias = normal(8, 9, 10, 3), normal(kernel, kernel, 3, 4), normal(4)
    pads = tuple(lax.padtype_to_pads(x.shape[1:3], (kernel, kernel), strides, padding))

    def direct(x, weights, bias):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return bias + lax.conv_general_dilated(
            x, weights, strides, padding, dimension_numbers=dimensions
        )

    agree(lambda *a: convolution(*a, strides, pads), direct, x, weights, bias)


@pytest.mark.parametrize("shape", [(4, 6, 8, 3), (2, 7, 5, 1)])
def test_a_pool_is_that_of_xla_and_the_first_of_equals_gets_the_gradient(lax, shape):
    from disdel.compiler.lowering import max_pool

    # Few values, so that windows have several largest.
    x = np.round(normal(*shape))

    def windows(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    agree(max_pool, windows, x)


def test_samples_of_weight_0_have_no_part_in_the_moments():
    from disdel.compiler.lowering import weighted_moments

    x = normal(6, 3, 2, 5)
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    mean, variance = weighted_moments(x, weights)
    np.testing.assert_allclose(mean, x[:4].mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, x[:4].var((0, 1, 2)), rtol=1e-5)


def test_a_layer_without_a_form_is_named_with_what_to_use_instead():
    import keras

    from disdel.compiler.lowering import lowered

    model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(2, name="memory")])
    with pytest.raises(UsageError, match=r"'memory' \(LSTM\).*use layers of .*tensorflow"):
        lowered(model)
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), keras.layers.Conv2D(2, 3, dilation_rate=2, name="wide")]
    )
    with pytest.raises(UsageError, match=r"'wide' \(Conv2D\).*dilation_rate"):
        lowered(model)
