"""The kernels against Keras's own, values and gradients; what is drawn; what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from disdel.errors import UsageError
from tests.support.lowered_layers import CASES

pytestmark = pytest.mark.framework


@pytest.fixture(autouse=True)
def jax():
    """Imported by these tests alone: it would grow every other's process."""
    return pytest.importorskip("jax")


@pytest.fixture(scope="module")
def distances():
    """How far each case of `tests.support.lowered_layers` is from Keras's result."""
    environ = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # Compiled fast, which takes longer here than anything that is executed.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.lowered_layers"],
        env=environ,
        check=True,
        capture_output=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_keras_s_own(distances, case):
    """Relative to the largest value or gradient; the tolerance is that of sums in another order."""
    found = distances[case]
    assert isinstance(found, dict), found
    assert max(found.values()) < 1e-5, found


def test_a_pool_takes_over_the_relu_that_it_alone_reads():
    import keras
    from keras import layers

    from disdel.compiler.lowering import lowered

    def named(model):
        found = lowered(model)._flatten_layers()
        return {
            layer.name: layer.activation.__name__
            for layer in found
            if layer.name.startswith("own") and layer.activation
        }

    def convolved(name, x, activation="relu"):
        return layers.Conv2D(2, 3, activation=activation, name=name)(x)

    samples = keras.Input((8, 8, 1))
    read_once, read_twice = convolved("own-once", samples), convolved("own-twice", samples)
    other = convolved("own-tanh", samples, "tanh")
    pools = [
        layers.MaxPooling2D(name=f"own-pool-{i}")(x)
        for i, x in enumerate((read_once, read_twice, other))
    ]
    inner = keras.Model(samples, [read_twice, *pools, convolved("own-end", samples)])
    again = keras.Input((8, 8, 1))
    assert named(keras.Model(again, inner(again))) == {
        "own-once": "linear",
        "own-pool-0": "relu",
        "own-twice": "relu",
        "own-tanh": "tanh",
        "own-end": "relu",
    }


@pytest.mark.parametrize(("channels", "apart"), [(3, True), (4, True), (16, False)])
def test_samples_as_stored_are_converted_before_a_loop_nest(jax, channels, apart):
    """Fused into it, the conversion of bytes takes its vectors: five times as long."""
    from disdel.compiler.convolutions import convolution
    from disdel.compiler.windows import Window

    def convolved(stored, kernel, bias):
        window = Window((3, 3), (1, 1), ((0, 0), (0, 0)))
        return convolution(stored.astype("float32"), kernel, bias, window, True)

    shapes = [((2, 16, 16, channels), "uint8"), ((3, 3, channels, 8), "float32"), ((8,), "float32")]
    text = jax.jit(convolved).lower(*(jax.ShapeDtypeStruct(*shape) for shape in shapes)).as_text()
    assert "stablehlo.convolution" in text
    assert ("optimization_barrier" in text) == apart


def test_samples_of_weight_0_have_no_part_in_the_moments():
    from disdel.compiler.kernels import weighted_moments

    x = np.random.default_rng(0).standard_normal((6, 3, 2, 5)).astype(np.float32)
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    mean, variance = weighted_moments(x, weights)
    np.testing.assert_allclose(mean, x[:4].mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, x[:4].var((0, 1, 2)), rtol=1e-5)


def test_the_loss_is_keras_s_cross_entropy():
    """Of logits that are large, and without a constant a sample."""
    import keras

    from disdel.compiler.kernels import cross_entropy

    x = 50 * np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    y = (np.arange(40) % 5).astype(np.int32)
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)(y, x)
    for logits in (x, x + 100):
        found = np.asarray(cross_entropy(y, logits))
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-4, atol=1e-4)


def draws(seed=0):
    from disdel.compiler.draws import Draws

    return Draws(np.uint32(seed))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_much_is_dropped_as_asked_whatever_the_seed(rate):
    """Of 200,000 the share is within five standard deviations."""
    shape = (100, 2000)
    tolerance = 5 * np.sqrt(rate * (1 - rate) / np.prod(shape))
    for seed in (0, 1, 2**31):
        kept = np.asarray(draws(seed).keeps(rate, shape))
        assert 1 - kept.mean() == pytest.approx(rate, abs=tolerance)
        # In no row or column more than in another.
        for axis in (0, 1):
            share = kept.mean(axis)
            spread = 7 * np.sqrt(rate * (1 - rate) / shape[axis])
            assert np.abs(share - (1 - rate)).max() < spread


def test_draws_repeat_with_the_seed_and_with_nothing_else():
    shape = (64, 1000)

    def bits(draw=0, seed=0):
        source = draws(seed)
        return [np.asarray(source.bits(shape)) for _ in range(draw + 1)][-1]

    first = bits()
    np.testing.assert_array_equal(first, bits())
    for other in (bits(seed=1), bits(seed=2**31), bits(draw=1), bits(draw=1, seed=1)):
        # Halves of all bits agree by chance.
        agreeing = np.unpackbits((~(first ^ other)).view(np.uint8)).mean()
        assert agreeing == pytest.approx(0.5, abs=0.005)


def test_normal_draws_are_normal():
    values = np.asarray(draws().normal((400, 500)))
    assert np.isfinite(values).all()
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(values) < 1).mean() == pytest.approx(0.6827, abs=0.01)


def model_of(*layers, shape=(8, 8, 4)):
    import keras

    return keras.Sequential([keras.Input(shape), *layers])


def refused():
    """Layers that have no kernel, and what the message says."""
    from keras import layers

    class Mine(layers.Dense):
        pass

    first = {"data_format": "channels_first", "name": "first"}
    yield (8, 4), layers.LSTM(2, name="memory"), r"'memory' \(LSTM\).*use layers of .*tensorflow"
    yield (8,), Mine(2, name="mine"), r"'mine' \(Mine\).*use layers of .*tensorflow"
    yield (8,), layers.Embedding(4, 2, name="words"), r"'words' \(Embedding\).*use layers of "
    yield (4, 8, 8), layers.MaxPooling2D(2, **first), r"'first'.*channels_first.*channels_last"
    yield (
        (8,),
        layers.Dense(2, activity_regularizer="l2", name="d"),
        r"'d'.*activity_regularizer=.*",
    )
    yield (8, 4), layers.BatchNormalization(axis=1, name="b"), r"'b'.*with axis=1: use -1, or train"


@pytest.mark.parametrize("case", range(6))
def test_a_layer_without_a_form_is_named_with_what_to_use_instead(case):
    from disdel.compiler.lowering import lowered

    shape, layer, said = list(refused())[case]
    with pytest.raises(UsageError, match=said):
        lowered(model_of(layer, shape=shape))


def test_layers_within_models_within_models_are_found():
    from keras import layers

    from disdel.compiler.lowering import lowered

    inner = model_of(layers.LSTM(2, name="memory"), shape=(8, 4))
    with pytest.raises(UsageError, match="'memory'"):
        lowered(model_of(inner, shape=(8, 4)))


INITIALIZERS = (
    "Zeros",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "VarianceScaling",
)


def initial(initializer, shape):
    """What the compiler says of a variable."""
    import keras

    from disdel.compiler.initial import initial_of
    from disdel.compiler.lowering import without_values

    with without_values():
        return initial_of(keras.Variable(initializer, shape=shape))


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("shape", [(300, 200), (5, 5, 40, 60), (50_000,)])
def test_weights_begin_as_those_of_keras_do(name, shape):
    """The same mean, deviation and ends, of as many values that the ends are close."""
    import keras

    from disdel.protocol.program import Program, StateTensor
    from disdel.runtimes.compiled.initial_state import initial_state
    from disdel.types import CallMemory

    initializer = keras.initializers.get(name)
    tensor = StateTensor(
        name="kernel", shape=shape, dtype="float32", initial=initial(initializer, shape)
    )
    program = Program(
        input_shape=(1,),
        input_dtype="uint8",
        batch_size=1,
        score_batch=1,
        state=(tensor,),
        model_tensors=1,
        trained=(),
        adds_terms=False,
        draws=False,
        classifies=True,
        metrics=(),
        memory=CallMemory(train_bytes=1, score_bytes=1),
        targets=(),
    )
    found, wanted = initial_state(program, 0)["kernel"], np.asarray(initializer(shape))
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    size = max(float(wanted.std()), 1e-6)
    assert found.mean() == pytest.approx(float(wanted.mean()), abs=0.05 * size)
    assert found.std() == pytest.approx(float(wanted.std()), rel=0.03)
    if "Normal" not in name or "Truncated" in name:
        assert np.abs(found).max() == pytest.approx(float(np.abs(wanted).max()), rel=0.02)


def test_other_initializers_are_named_with_what_to_use_instead():
    import keras

    for initializer, name in (
        (keras.initializers.Orthogonal(), "Orthogonal"),
        (keras.initializers.Constant([1.0, 2.0]), "Constant"),
    ):
        with pytest.raises(UsageError, match=f"initializer {name}: use one of .*--runtime"):
            initial(initializer, (2, 2))
