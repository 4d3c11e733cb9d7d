"""The built-in networks by name.

| name | layers | source |
| --- | --- | --- |
| `cnn` | convolution 32 of 3×3, max-pool, dense 128, softmax | the DISDEL thesis (RIT, 2020) |
| `cnn2` | twice convolution (32, 64) of 5×5 and max-pool, dense 512, softmax | FedKeeper (2020) |
| `mlp` | dense 500, softmax | FedKeeper (2020) |

`auto` is `cnn` for images and `mlp` for vectors.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

from disdel.catalog.models.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, Shape
from disdel.errors import UsageError
from disdel.types import DatasetSpec, ModelFacts, ModelSpec

__all__ = ["MODEL_NAMES", "choose_model", "layers_of", "model_facts"]

Layers = tuple[Layer, ...]


def _cnn(classes: int) -> Layers:
    return (Conv2D(32, 3), MaxPool2D(), Flatten(), Dense(128), Dense(classes, "softmax"))


def _cnn2(classes: int) -> Layers:
    return (
        Conv2D(32, 5),
        MaxPool2D(),
        Conv2D(64, 5),
        MaxPool2D(),
        Flatten(),
        Dense(512),
        Dense(classes, "softmax"),
    )


def _mlp(classes: int) -> Layers:
    return (Flatten(), Dense(500), Dense(classes, "softmax"))


_TABLE: dict[str, Callable[[int], Layers]] = {"cnn": _cnn, "cnn2": _cnn2, "mlp": _mlp}

MODEL_NAMES = tuple(_TABLE)


def choose_model(name: str, dataset: DatasetSpec) -> ModelSpec:
    """The network `name` for a data set's shapes; `auto` picks by the shape.

    Raises:
        UsageError: no such network, or it cannot take such samples.
    """
    if name == "auto":
        name = "cnn" if len(dataset.input_shape) == 3 else "mlp"
    if name not in _TABLE:
        near = difflib.get_close_matches(name, MODEL_NAMES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(MODEL_NAMES)
        raise UsageError(f"unknown model {name!r}{hint}; known: auto, {known}")
    spec = ModelSpec(
        name=name,
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        target="class" if dataset.classes else "number",
    )
    try:
        model_facts(spec)
    except UsageError as error:
        raise UsageError(
            f"model {name!r} does not fit data set {dataset.name!r}: {error}"
        ) from error
    return spec


def layers_of(spec: ModelSpec) -> Layers:
    """The layers of a network, first to last; for numbers it ends in one output as it is."""
    layers = _TABLE[spec.name](spec.classes)
    return layers if spec.classes else (*layers[:-1], Dense(1, "linear"))


def model_facts(spec: ModelSpec) -> ModelFacts:
    """The sizes of a network; of the user's own, those that were found.

    Raises:
        UsageError: a layer cannot take the shape that reaches it.
    """
    if spec.own is not None:
        return spec.own.facts
    shape: Shape = spec.input_shape
    parameters, multiply_adds, activations = 0, 0, math.prod(shape)
    for layer in layers_of(spec):
        output = layer.output_shape(shape)
        parameters += layer.parameters(shape)
        multiply_adds += layer.multiply_adds(shape)
        activations += math.prod(output)
        shape = output
    return ModelFacts(parameters=parameters, activations=activations, multiply_adds=multiply_adds)
