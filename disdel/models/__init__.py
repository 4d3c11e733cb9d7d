"""The built-in networks by name.

| name | layers | source |
| --- | --- | --- |
| `cnn` | convolution 32 of 3×3, max-pool, dense 128, softmax | the DISDEL thesis (RIT, 2020) |
| `cnn2` | twice convolution (32, 64) of 5×5 and max-pool, dense 512, softmax | FedKeeper (2020) |
| `mlp` | dense 500, softmax | FedKeeper (2020) |
| `lenet5` | convolutions 6, 16 of 5×5 with average pools, dense 120, 84 | LeCun et al. (1998) |
| `resnet20`, `resnet32` | 3 stages of 3 or 5 residual blocks, 16 to 64 filters | He et al. (2015) |
| `resnet34` | 4 stages of 3, 4, 6, 3 residual blocks, 64 to 512 filters | He et al. (2015) |
| `vgg11` | 8 convolutions of 64 to 512, batch normalisation | Simonyan and Zisserman (2014) |

The last four are meant for 32×32 images; `networks` says where each departs from its source. `auto`
is `cnn` for images and `mlp` for vectors. What is no image of bytes is standardised by the first
layer, and numbers to predict leave the last one in their own units (`ModelSpec.scaling`).
"""

from __future__ import annotations

import difflib
import math

from disdel.errors import UsageError
from disdel.models.builtin.layers import Dense, walk
from disdel.models.builtin.networks import NETWORKS, Layers
from disdel.types.specs import DatasetSpec, ModelFacts, ModelSpec

__all__ = ["MODEL_NAMES", "choose_model", "layers_of", "model_facts"]

MODEL_NAMES = tuple(NETWORKS)


def choose_model(name: str, dataset: DatasetSpec) -> ModelSpec:
    """The network `name` for a data set's shapes; `auto` picks by the shape.

    Raises:
        UsageError: no such network, or it cannot take such samples.
    """
    if name == "auto":
        name = "cnn" if len(dataset.input_shape) == 3 else "mlp"
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, MODEL_NAMES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(MODEL_NAMES)
        raise UsageError(
            f"unknown model {name!r}{hint}; known: auto, {known}, and a function of yours, as "
            "FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION"
        )
    spec = ModelSpec(
        name=name,
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        target="class" if dataset.classes else "number",
        scaling=dataset.scaling,
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
    layers = NETWORKS[spec.name](spec.classes)
    return layers if spec.classes else (*layers[:-1], Dense(1, "linear"))


def model_facts(spec: ModelSpec) -> ModelFacts:
    """The sizes of a network; of the user's own, those that were found.

    Raises:
        UsageError: a layer cannot take the shape that reaches it.
    """
    if spec.own is not None:
        return spec.own.facts
    parameters, multiply_adds, layers, outputs = 0, 0, 0, 0
    activations = largest = math.prod(spec.input_shape)
    for layer, shape in walk(layers_of(spec), spec.input_shape):
        layers += 1
        parameters += layer.parameters(shape)
        multiply_adds += layer.multiply_adds(shape)
        activations += layer.kept(shape)
        output = math.prod(layer.output_shape(shape))
        outputs += output
        largest = max(largest, output)
    return ModelFacts(
        parameters=parameters,
        activations=activations,
        outputs=outputs,
        largest=largest,
        layers=layers,
        multiply_adds=multiply_adds,
    )
