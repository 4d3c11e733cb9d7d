"""How the values of a state begin, told of Keras's variables without making them. Imports Keras."""

from __future__ import annotations

import math
from typing import Any

import keras

from disdel.errors import UsageError
from disdel.protocol.program import Initial

# Keras ships no types.
KerasVariable = Any

# The standard deviation of a normal distribution that is cut off at two of its own, which Keras
# makes up for where it scales variances.
_CUT_STD = 0.87962566103423978


def initial_of(variable: KerasVariable) -> Initial:
    """How `variable`, made where variables have no values, begins.

    Raises:
        UsageError: by an initializer that cannot be told in numbers.
    """
    if variable.name == "seed_generator_state":
        return Initial(kind="constant")  # a step has a random state of its own
    # Keras keeps it there until the variable has a value.
    initializer = variable._initializer
    kinds = keras.initializers
    match initializer:
        case kinds.Zeros():
            return Initial(kind="constant")
        case kinds.Ones():
            return Initial(kind="constant", center=1.0)
        case kinds.Constant() if isinstance(initializer.value, int | float):
            return Initial(kind="constant", center=initializer.value)
        case kinds.RandomUniform():
            low, high = initializer.minval, initializer.maxval
            return Initial(kind="uniform", center=(low + high) / 2, spread=(high - low) / 2)
        case kinds.RandomNormal():
            return Initial(kind="normal", center=initializer.mean, spread=initializer.stddev)
        case kinds.TruncatedNormal():
            return Initial(
                kind="truncated-normal", center=initializer.mean, spread=initializer.stddev
            )
        case kinds.VarianceScaling():
            return _scaled(initializer, variable.shape)
    raise UsageError(
        f"variable {variable.path} cannot be compiled with the initializer "
        f"{getattr(initializer, '__name__', type(initializer).__name__)}: use one of the uniform, "
        "normal or constant ones, as Glorot's, He's and LeCun's are, or train with --runtime "
        "tensorflow"
    )


def _scaled(initializer: Any, shape: tuple[int, ...]) -> Initial:
    """A distribution whose variance is by how many values meet in an input or output."""
    inputs, outputs = _fans(shape)
    fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
    variance = initializer.scale / max(1.0, fan[initializer.mode])
    match initializer.distribution:
        case "uniform":
            return Initial(kind="uniform", spread=math.sqrt(3 * variance))
        case "untruncated_normal":
            return Initial(kind="normal", spread=math.sqrt(variance))
    return Initial(kind="truncated-normal", spread=math.sqrt(variance) / _CUT_STD)


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Inputs and outputs that meet in a value, as Keras counts them."""
    if len(shape) < 2:
        size = float(math.prod(shape))
        return size, size
    positions = math.prod(shape[:-2])
    return float(positions * shape[-2]), float(positions * shape[-1])
