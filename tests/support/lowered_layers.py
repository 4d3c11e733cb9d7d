"""Every lowered layer beside Keras's own, on JAX.

`python -m tests.support.lowered_layers`, a process, prints a JSON object: for each case how far
values, gradients and changed variables are from Keras's, relative to the largest of them, or what
was raised. Other tests have Keras on TensorFlow.
"""

import itertools
import json
import random
from unittest.mock import patch

CASES = {}

# The bounds of `disdel.compiler.convolutions` that lead to each form but that of patches.
FORMS = {
    "by offset": {"_CHANNELS_AT_LEAST": 0, "_PATCHES_AT_MOST_BYTES": 0},
    "direct": {"_COLUMNS_AT_LEAST": 1, "_WASTE_AT_MOST": 9},
}


def case(name, shape, make):
    """A layer that `make` gives of `keras.layers`, for samples of `shape`."""
    assert name not in CASES
    CASES[name] = (shape, make)


def grid(kind, shape, count, *fixed, **settings):
    """`count` of all combinations of the settings that Keras allows, always the same."""
    every = [
        dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())
    ]
    allowed = [s for s in every if s.get("strides", 1) == 1 or s.get("dilation_rate", 1) == 1]
    for chosen in random.Random(kind).sample(allowed, count):
        text = ",".join(f"{name}={value}" for name, value in chosen.items())
        case(
            f"{kind}({text})",
            shape,
            lambda layers, chosen=chosen: getattr(layers, kind)(*fixed, **chosen),
        )


PADDING = ("valid", "same")
grid(
    "Conv2D",
    (9, 10, 4),
    14,
    8,
    kernel_size=(1, 3, (2, 5)),
    strides=(1, 2, (3, 1), (1, 2)),
    padding=PADDING,
    dilation_rate=(1, 2, (1, 2)),
    groups=(1, 2, 4),
    use_bias=(True, False),
)
grid(
    "Conv1D",
    (11, 4),
    8,
    8,
    kernel_size=(1, 3, 4),
    strides=(1, 2),
    padding=(*PADDING, "causal"),
    dilation_rate=(1, 2),
    groups=(1, 2, 4),
)
grid(
    "DepthwiseConv2D",
    (9, 8, 3),
    8,
    kernel_size=(1, 3, (2, 4)),
    strides=(1, 2),
    padding=PADDING,
    dilation_rate=(1, 2),
    depth_multiplier=(1, 2),
    use_bias=(True, False),
)
grid("DepthwiseConv1D", (9, 3), 3, 3, strides=(1, 2), padding=PADDING, depth_multiplier=(1, 2))
grid(
    "SeparableConv2D",
    (9, 8, 3),
    4,
    5,
    kernel_size=(3, (2, 4)),
    strides=(1, 2),
    padding=PADDING,
    dilation_rate=(1, 2),
    depth_multiplier=(1, 2),
)
grid("SeparableConv1D", (9, 3), 2, 5, 3, strides=(1, 2), padding=PADDING)
for pool in ("MaxPooling2D", "AveragePooling2D"):
    sizes = {"pool_size": (2, 3, (3, 2)), "strides": (None, 1, 2, (2, 3))}
    grid(pool, (9, 8, 3), 7, **sizes, padding=PADDING)
    case(f"{pool}(2)", (7, 5, 1), lambda layers, pool=pool: getattr(layers, pool)(2))
for pool in ("MaxPooling1D", "AveragePooling1D"):
    grid(pool, (9, 3), 3, pool_size=(2, 3), strides=(None, 1, 2), padding=PADDING)
case("BatchNormalization()", (4, 3, 5), lambda layers: layers.BatchNormalization())
case(
    "BatchNormalization(plain)",
    (5,),
    lambda layers: layers.BatchNormalization(scale=False, center=False),
)
case(
    "relu after Conv2D",
    (6, 6, 3),
    lambda layers: layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
)
case(
    "relu before MaxPooling2D",
    (9, 8, 3),
    lambda layers: sequential(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(3, 2)),
)


def sequential(*layers):
    import keras

    return keras.Sequential(layers)


def measured(shape, make):
    """How far the lowered layer is from Keras's own, by what was compared."""
    import jax
    import jax.numpy as jnp
    import keras
    import numpy as np

    from disdel.compiler import convolutions
    from disdel.compiler.draws import Draws
    from disdel.compiler.layers import training_step, vectors
    from disdel.compiler.lowering import lowered, without_values

    keras.utils.set_random_seed(0)
    with without_values():
        theirs = keras.Sequential([keras.Input(shape), make(keras.layers)])
    rng = np.random.default_rng(0)
    values = [
        [rng.uniform(0.5, 1.5, variable.shape).astype(np.float32) for variable in variables]
        for variables in (theirs.trainable_variables, theirs.non_trainable_variables)
    ]
    # Few values, so that windows have several largest.
    x = np.round(rng.standard_normal((6, *shape)), 1).astype(np.float32)
    weights = rng.standard_normal((6, *theirs.output_shape[1:])).astype(np.float32)

    def results(model):
        def weighted(trainable, x):
            with training_step(jnp.ones(6), Draws(jnp.uint32(0))):
                output, changed, penalties = model.stateless_call(
                    trainable, values[1], x, training=True, return_losses=True
                )
            total = (output * weights).sum() + sum(penalties, jnp.float32(0))
            return total, (output, changed)

        return jax.grad(weighted, (0, 1), has_aux=True)

    mine = lowered(theirs)

    @jax.jit
    def every(trainable, x):
        """All of them compiled at once, which takes less."""
        found = {"": results(mine)(trainable, x)}
        if any("kernel" in variable.path for variable in theirs.variables):
            # Whatever its size, as it would be written for a large one.
            for form, settings in FORMS.items():
                with patch.multiple(convolutions, **settings), vectors(wide=form == "direct"):
                    found[f", {form}"] = results(mine)(trainable, x)
        return found, results(theirs)(trainable, x)

    with without_values():
        found, wanted = every(values[0], x)
    distances = {}
    for way, (what, index) in itertools.product(found, (("gradients", 0), ("values", 1))):
        # numpy's, since JAX would compile each for each shape.
        leaves = (map(np.asarray, jax.tree.leaves(one[index])) for one in (found[way], wanted))
        distances[what + way] = max(
            float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3))
            for a, b in zip(*leaves, strict=True)
        )
    return distances


def main():
    results = {}
    for name, (shape, make) in CASES.items():
        try:
            results[name] = measured(shape, make)
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))  # noqa: T201 - what the tests read


if __name__ == "__main__":
    main()
