"""Networks that are compiled in tests.

`python -m tests.support.compiled_models` is a process with Keras on JAX: for each line of its
input, a JSON list of name, optimizer and folder, it writes the program, and says so in a line. The
tests build the same networks on TensorFlow.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

BATCH = 16
SHAPE = (8, 8, 1)
CLASSES = 10

# All but `threshold`, which has settings, and `glu`, whose width Keras takes to be the input's.
ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh",
    "tanh_shrink",
)


def images(x, layers):
    """Every kind of layer over images; what they give is joined in every way."""
    x = layers.Rescaling(1 / 16)(x)
    wide = layers.Conv2D(8, 3, padding="same", dilation_rate=2, activation="relu")(x)
    grouped = layers.Conv2D(8, 3, padding="same", groups=2)(wide)
    deep = layers.DepthwiseConv2D(3, padding="same", activation="silu")(grouped)
    apart = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(wide)
    x = layers.Concatenate()([layers.Multiply()([deep, apart]), layers.Subtract()([wide, deep])])
    x = layers.GroupNormalization(4)(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    even = layers.AveragePooling2D(3, 1, padding="same")(x)
    x = layers.Average()([layers.LayerNormalization()(x), layers.Maximum()([even, x])])
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
    up = layers.Cropping2D(1)(layers.ZeroPadding2D(1)(layers.UpSampling2D()(x)))
    return layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(up), layers.GlobalMaxPooling2D()(x)]
    )


def sequences(x, layers):
    """Every kind of layer over sequences."""
    x = layers.Reshape((8, 8))(layers.Rescaling(1 / 16)(x))
    x = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="tanh")(x)
    x = layers.ELU()(layers.SeparableConv1D(8, 3, padding="same")(x))
    x = layers.DepthwiseConv1D(3, padding="same")(x)
    x = layers.UnitNormalization()(layers.ZeroPadding1D(1)(x))
    x = layers.MaxPooling1D(3, 2, padding="same")(layers.UpSampling1D(2)(x))
    x = layers.AveragePooling1D(2)(layers.Permute((2, 1))(layers.Cropping1D(1)(x)))
    means, largest = layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)
    x = layers.Concatenate()([layers.Minimum()([means, largest]), layers.Add()([means, largest])])
    x = layers.RepeatVector(2)(layers.LeakyReLU()(x))
    return layers.Flatten()(x)


def activations(x, layers):
    """Every activation that Keras has."""
    x = layers.Flatten()(layers.Rescaling(1 / 16)(x))
    return layers.Concatenate()([layers.Dense(4, activation=name)(x) for name in ACTIVATIONS])


def drawing(x, layers):
    """Every layer that draws at random."""
    x = layers.Conv2D(4, 3)(layers.GaussianNoise(0.1)(layers.Rescaling(1 / 16)(x)))
    x = layers.Flatten()(layers.GaussianDropout(0.1)(layers.SpatialDropout2D(0.2)(x)))
    return layers.Dropout(0.3)(layers.Dense(16, activation="relu")(x))


def normalised(x, layers):
    """Convolutions with batch normalisation."""
    x = layers.Rescaling(1 / 16)(x)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return layers.Flatten()(x)


def convolved(x, layers):
    x = layers.Conv2D(16, 3, activation="relu")(layers.Rescaling(1 / 16)(x))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return layers.Dense(32, activation="relu")(x)


def dense(x, layers):
    x = layers.Flatten()(layers.Rescaling(1 / 16)(x))
    return layers.Dense(64, activation="relu")(x)


MODELS = {
    function.__name__: function
    for function in (
        images,
        sequences,
        activations,
        drawing,
        normalised,
        convolved,
        dense,
    )
}


def build(name):
    import keras

    samples = keras.Input(SHAPE)
    x = keras.layers.Dense(CLASSES)(MODELS[name](samples, keras.layers))
    # Both ways to end in probabilities.
    last = keras.layers.Softmax() if name == "sequences" else keras.layers.Activation("softmax")
    return keras.Model(samples, last(x))


def main():
    from disdel.compiler.__main__ import hide

    hide()
    for line in sys.stdin:
        write(*json.loads(line))
        print("written", flush=True)  # noqa: T201


def write(name, optimizer, folder):
    import keras

    from disdel.compiler import CompileJob
    from disdel.compiler.__main__ import write_program
    from disdel.compiler.lowering import without_values
    from disdel.compiler.network import LoweredNetwork
    from disdel.compiler.parts import parts_of
    from disdel.compiler.recipe import recipe_for
    from disdel.models import built_in

    job = CompileJob(
        model=replace(built_in("cnn", input_shape=SHAPE, classes=CLASSES), name=name),
        input_dtype="uint8",
        batch_size=BATCH,
        optimizer=optimizer,
        targets=("host",),
    )
    # Names as in a process that has built nothing before.
    keras.utils.clear_session()
    with without_values():
        model = build(name)
    network = LoweredNetwork(
        model=model,
        recipe=recipe_for("class", gives_probabilities=True),
        optimizer=keras.optimizers.get(optimizer),
        saved=model,
    )
    write_program(parts_of(network, job), job, Path(folder))


if __name__ == "__main__":
    main()
