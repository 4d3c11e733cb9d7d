"""What networks of the user's own have in common, whatever their framework."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.arrays import Array
from disdel.errors import UsageError
from disdel.types import CodeRef, Target
from disdel.user_code import FOLDER, read_code
from disdel.user_module import UserModule
from disdel.wire import DescribeRequest

# Where a bundle has the user's files: beside the package `disdel`.
BUNDLED = Path(__file__).parents[2] / FOLDER

# Of the samples that a network is tried out on: enough that outputs which happen to look like
# probabilities are none.
_SAMPLES = 8


def bundled_module() -> UserModule | None:
    """The user's code in this bundle, imported; None where there is none.

    Raises:
        UsageError: this runtime lacks a package that it needs, or importing it failed.
    """
    code = read_code(BUNDLED)
    return None if code is None else module_here(code.ref)


def module_here(code: CodeRef) -> UserModule:
    """The user's code in this bundle, imported; its relative paths are of files beside it.

    Raises:
        UsageError: as `bundled_module`.
    """
    os.chdir(BUNDLED)
    return UserModule(code, BUNDLED)


def target_of(entry: str, shape: tuple[int, ...], classes: int) -> Target:
    """What a network can learn of a data set, by the shape of its output for a sample.

    Args:
        entry: the function that made it.
        shape: of the output, without the batch axis.
        classes: of the data set, 0 where targets are numbers.

    Raises:
        UsageError: none of its targets; the message says which shape suits.
    """
    if shape == (1,) and classes in (0, 2):
        return "binary" if classes else "number"
    if shape == (classes,):
        return "class"
    wanted = {0: "(1,), since its targets are numbers", 2: "(2,) or (1,), since it has 2 classes"}
    suits = wanted.get(classes, f"({classes},), since it has {classes} classes")
    raise UsageError(
        f"the model of {entry} gives {shape} for a sample, and the data set needs {suits}; a "
        "function with a parameter classes is given their number"
    )


def function_beside(module: UserModule, name: str) -> Callable[..., Any] | None:
    """The function of that name beside the user's; None where there is none.

    Raises:
        UsageError: what stands there is no function.
    """
    found = module.attribute(name)
    if found is not None and not callable(found):
        raise UsageError(f"{module.code.entry}: {name} must be a function, not {a_kind(found)}")
    return found


def a_kind(value: object) -> str:
    """What kind of thing it is, for people."""
    if value is None:
        return "None"
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def trial_samples(request: DescribeRequest) -> Array:
    """Random samples, (_SAMPLES, *input_shape) of the data set's dtype."""
    random = np.random.default_rng(0)
    shape = (_SAMPLES, *request.input_shape)
    if request.input_dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.standard_normal(shape).astype(request.input_dtype)


def trial_targets(target: Target, classes: int) -> Array:
    """Targets for these, (_SAMPLES,): class numbers int32, or numbers float32."""
    if target == "number":
        return (np.arange(_SAMPLES) / _SAMPLES).astype(np.float32)
    return (np.arange(_SAMPLES) % classes).astype(np.int32)


def look_like_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether each row of (samples, classes) could be a distribution."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))
