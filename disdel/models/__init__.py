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
from disdel.types.names import USUAL_LOSSES, Preprocessing, Target
from disdel.types.reading import Scaling
from disdel.types.specs import (
    DatasetSpec,
    FeatureSpec,
    LossSpec,
    ModelFacts,
    ModelSpec,
    TargetSpec,
    feature_of,
    nameless,
    target_of,
)

__all__ = ["MODEL_NAMES", "built_in", "choose_model", "layers_of"]

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
    try:
        return _described(name, dataset.features[0], dataset.target, dataset.scaling)
    except UsageError as error:
        raise UsageError(
            f"model {name!r} does not fit data set {dataset.name!r}: {error}"
        ) from error


def built_in(
    name: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    target_shape: tuple[int, ...] = (),
    input_dtype: str = "uint8",
    scaling: Scaling | None = None,
) -> ModelSpec:
    """A built-in network for samples of a shape and dtype.

    Args:
        name: one of `MODEL_NAMES`.
        input_shape: of one sample.
        classes: 0 for numbers to predict.
        target_shape: of these, () for one or (n,) for several.
        input_dtype: of samples as stored; bytes are divided by 255.
        scaling: what it standardises other samples with, and the units of numbers to predict.

    Raises:
        UsageError: a layer cannot take the shape that reaches it, or no built-in network learns
            such targets.
    """
    target = target_of(classes, target_shape)
    return _described(name, feature_of(input_shape, input_dtype), target, scaling)


def _described(
    name: str, feature: FeatureSpec, target: TargetSpec, scaling: Scaling | None
) -> ModelSpec:
    preprocessing: Preprocessing = "none" if scaling is None else "standardise"
    if feature.dtype == "uint8":
        preprocessing = "bytes"
    if len(target.shape) > (target.kind == "number"):
        form = f"{'×'.join(map(str, target.shape))} {target.kind}"
        raise UsageError(
            f"built-in networks learn one class or one row of numbers a sample, and this one has "
            f"{form}{'es' if target.kind == 'class' else 's'}: write a network of your own, as "
            "--model FILE.py:FUNCTION"
        )
    learns: Target = "number" if target.kind == "number" else "class"
    unit = scaling.loss_unit if learns == "number" and scaling is not None else 1.0
    return ModelSpec(
        name=name,
        features=(feature,),
        targets=nameless((target,)),
        learns=learns,
        gives_probabilities=learns == "class",
        facts=_facts(_layers(name, target), feature.shape),
        loss=LossSpec(name=USUAL_LOSSES[learns], unit=unit),
        metrics=("mean_absolute_error",) if learns == "number" else (),
        preprocessing=preprocessing,
        scaling=scaling,
    )


def layers_of(spec: ModelSpec) -> Layers:
    """The layers of a built-in network, first to last; for numbers it ends in outputs as are."""
    return _layers(spec.name, spec.target)


def _layers(name: str, target: TargetSpec) -> Layers:
    if target.kind == "class":
        return NETWORKS[name](target.classes)
    # The last layer alone depends on the number of classes.
    return (*NETWORKS[name](1)[:-1], Dense(target.elements, "linear"))


def _facts(layers: Layers, input_shape: tuple[int, ...]) -> ModelFacts:
    """The sizes of a network of such layers.

    Raises:
        UsageError: a layer cannot take the shape that reaches it.
    """
    parameters, multiply_adds, count, outputs = 0, 0, 0, 0
    activations = largest = math.prod(input_shape)
    for layer, shape in walk(layers, input_shape):
        count += 1
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
        layers=count,
        multiply_adds=multiply_adds,
    )
