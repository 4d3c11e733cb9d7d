"""Networks of Keras on TensorFlow, as `runtimes.runtime.Networks`. Imports Keras when called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from disdel.errors import UsageError
from disdel.models.given import given_as
from disdel.models.keras_config import input_shape, read_keras_config, runs_code
from disdel.models.user.bundled import bundled_module
from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.runtimes.runtime import ModelFile, Predictor
from disdel.types.arrays import Array
from disdel.user_code.module import UserModule

# Keras ships no types.
KerasModel = Any


def build_trainer(network: Network, samples: Array) -> Trainer:
    """As `Networks.build_trainer`; samples as stored."""
    import keras

    from disdel.models.builtin.keras_models import built_in_network
    from disdel.models.user.keras_model import bundled_network
    from disdel.runtimes.devices import choose_keras_device
    from disdel.runtimes.keras.trainer import KerasTrainer, pin_threads

    pin_threads(network.threads)
    choose_keras_device(network.gpu_memory_mb)
    keras.utils.set_random_seed(network.seed)
    spec = network.model
    # What it is made of; all else is in its description.
    made = built_in_network(spec) if spec.code is None else bundled_network(spec, spec.code)
    return KerasTrainer(
        made.model,
        optimizer=made.optimizer(spec.optimizer(network.optimizer)),
        learning_rate=network.learning_rate,
        input_dtype=samples.dtype.name,
        recipe=made.recipe,
        converts=spec.has_loops,
        precision=network.precision or "float32",
        # No built-in network has a layer that draws.
        takes_seeds=spec.code is not None,
    )


def load_predictor(path: Path, threads: int | None) -> Predictor:
    """As `Networks.load_predictor`.

    Raises:
        UsageError: the file is no model, or one of several inputs.
    """
    import tensorflow as tf

    from disdel.runtimes.devices import choose_keras_device
    from disdel.runtimes.keras.masks import mask_of, spread
    from disdel.runtimes.keras.trainer import pin_threads

    pin_threads(threads)
    # Plans of evaluate actions know of no GPU, and one action would take all of it.
    choose_keras_device(0)
    model = load_model(path, bundled_module())
    inputs = model.inputs or []
    if len(inputs) != 1:
        raise UsageError(f"the model has {len(inputs)} inputs, and it must have one: the samples")
    wanted = tuple(inputs[0].shape[1:])

    def given(x: Any) -> tuple[Any, Any]:
        outputs = model(x, training=False)
        mask = mask_of(outputs)
        # What a layer has left of a mask may be of other axes, and says nothing of the outputs.
        fits = mask is not None and mask.shape.is_compatible_with(outputs.shape[: mask.shape.rank])
        return outputs, spread(mask, outputs, "output") if fits else None

    # Compiled, since a batch layer by layer takes half as much memory again, and longer.
    signature = [tf.TensorSpec((None, *wanted), inputs[0].dtype)]
    forward = tf.function(given, input_signature=signature)

    def predict(x: Array) -> Array:
        sizes = x.shape[1:]
        if len(sizes) != len(wanted) or any(
            w not in (None, s) for w, s in zip(wanted, sizes, strict=True)
        ):
            raise UsageError(f"the model takes samples of shape {wanted}, not {sizes}")
        outputs, counts = forward(given_as(x, inputs[0].dtype))
        found = np.asarray(outputs, np.float32)
        return found if counts is None else np.ma.array(found, mask=~np.asarray(counts))

    return predict


def load_model(path: Path, code: UserModule | None) -> KerasModel:
    """As `Networks.load_model`: an uncompiled `keras.Model`."""
    from disdel.models.builtin.keras_models import load_keras_network

    return load_keras_network(path, code)


def look_at(path: Path) -> ModelFile:
    """As `Networks.look_at`."""
    config = read_keras_config(path)
    return ModelFile(input_shape=input_shape(config), runs_code=tuple(runs_code(config)))
