"""Model files: from a file in the store to class probabilities. One place knows their formats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from disdel.errors import UsageError
from disdel.models.user.bundled import bundled_module
from disdel.store.base import Store
from disdel.types.arrays import Array
from disdel.worker.context import Context
from openwhisk_local.machine.allocator import give_back_freed_memory

Predictor: TypeAlias = Callable[[Array], Array]

_BLOCK_BYTES = 4 << 20


def load_predictor(path: Path, threads: int | None) -> Predictor:
    """The model in a file, Keras's or disdel's safetensors for PyTorch, as a function.

    Args:
        path: the file.
        threads: CPU threads, None for the machine's.

    Returns:
        From samples as stored, (n, *input_shape) of any numeric dtype, to what the model gives for
        them, (n, classes) or, of numbers, (n, 1) float32.

    Raises:
        UsageError: the file is no model of one input, or its framework is not here; from the
            function, the samples have another shape.
    """
    with path.open("rb") as file:
        # A header of JSON follows its length.
        safetensors = file.read(9)[8:] == b"{"
    try:
        return _torch_predictor(path, threads) if safetensors else _keras_predictor(path, threads)
    except ImportError as error:
        raise UsageError(f"the model cannot be loaded: {error}") from error


def _torch_predictor(path: Path, threads: int | None) -> Predictor:
    import torch

    from disdel.models.torch_files import load_torch_network, read_torch_file
    from disdel.runtimes.torch.recipe import built_in_recipe
    from disdel.runtimes.torch.trainer import pin_threads

    pin_threads(threads)
    about = read_torch_file(path)
    spec, code = about.model, bundled_module()
    network = load_torch_network(path, code).eval()
    if spec.own is not None and code is not None:
        from disdel.models.user.torch_model import recipe_of

        recipe = recipe_of(code, about)
    else:
        recipe = built_in_recipe(spec)

    def predict(x: Array) -> Array:
        if x.shape[1:] != spec.input_shape:
            raise UsageError(
                f"the model takes samples of shape {spec.input_shape}, not {x.shape[1:]}"
            )
        with torch.no_grad():
            outputs = recipe.outputs(network, torch.from_numpy(x))
            return np.asarray(recipe.predictions(outputs))

    return predict


def _keras_predictor(path: Path, threads: int | None) -> Predictor:
    import tensorflow as tf

    from disdel.models.builtin.keras_models import load_keras_network
    from disdel.runtimes.devices import choose_keras_device
    from disdel.runtimes.keras.trainer import pin_threads

    pin_threads(threads)
    # Plans of evaluate actions know of no GPU, and one action would take all of it.
    choose_keras_device(0)
    model = load_keras_network(path, bundled_module())
    inputs = model.inputs or []
    if len(inputs) != 1:
        raise UsageError(f"the model has {len(inputs)} inputs, and it must have one: the samples")
    wanted = tuple(inputs[0].shape[1:])
    # Compiled, since a batch layer by layer takes half as much memory again, and longer.
    forward = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((None, *wanted), tf.float32)],
    )

    def predict(x: Array) -> Array:
        sizes = x.shape[1:]
        if len(sizes) != len(wanted) or any(
            w not in (None, s) for w, s in zip(wanted, sizes, strict=True)
        ):
            raise UsageError(f"the model takes samples of shape {wanted}, not {sizes}")
        return np.asarray(forward(x.astype(np.float32)), np.float32)

    return predict


class PredictorCache:
    """The last model loaded in this container, for the next activation of the same run."""

    def __init__(self, load: Callable[[Path, int | None], Predictor] = load_predictor) -> None:
        self._load = load
        self._key: str | None = None
        self._predictor: Predictor | None = None

    def get(self, key: str, threads: int | None, context: Context) -> Predictor:
        """The model under `key`, waiting for the controller to finish writing it.

        Raises:
            StoreError: it cannot be read.
            UsageError: it is no model (see `load_predictor`).
        """
        if self._predictor is None or self._key != key:
            self._predictor = None
            context.wait_for(key)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                _copy(context.store, key, path)
                self._predictor = self._load(path, threads)
            self._key = key
            give_back_freed_memory()
        return self._predictor


def _copy(store: Store, key: str, path: Path) -> None:
    """Write a blob to a file, a block at a time."""
    blob = store.existing(key)
    with path.open("wb") as file:
        for start in range(0, blob.size, _BLOCK_BYTES):
            block = bytearray(min(_BLOCK_BYTES, blob.size - start))
            blob.read_into(memoryview(block), start)
            file.write(block)
