"""Model files of any framework, as functions from samples to class probabilities."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from disdel.arrays import Array
from disdel.errors import UsageError

# (batch, *input_shape) samples as stored to (batch, classes) float32.
Predict = Callable[[Array], Array]

# A Keras file is a zip.
_KERAS_MAGIC = b"PK"


def load_model(data: bytes | bytearray, threads: int | None) -> Predict:
    """The model in a file's bytes: a Keras file, or safetensors that disdel wrote for PyTorch.

    Args:
        data: the file.
        threads: CPU threads for its framework; None leaves it the machine's.

    Raises:
        UsageError: it is neither, or its framework is not here. So does what is returned, for
            samples of another shape.
    """
    load, suffix = (_keras, ".keras") if data.startswith(_KERAS_MAGIC) else (_torch, ".safetensors")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        path.write_bytes(data)
        try:
            return load(path, threads)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise UsageError(f"the model cannot be loaded: {error}") from error


def _keras(path: Path, threads: int | None) -> Predict:
    import keras

    from disdel.training.keras_adapter import pin_threads

    pin_threads(threads)
    model = keras.saving.load_model(path, compile=False)

    def predict(x: Array) -> Array:
        _check_shape(tuple(model.input_shape[1:]), x)
        return np.asarray(model(x.astype(np.float32), training=False), np.float32)

    return predict


def _torch(path: Path, threads: int | None) -> Predict:
    import torch

    from disdel.catalog.models.torch_models import load_torch_network
    from disdel.training.torch_adapter import pin_threads

    pin_threads(threads)
    network = load_torch_network(path).eval()

    def predict(x: Array) -> Array:
        _check_shape(network.spec.input_shape, x)
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(x)).exp())

    return predict


def _check_shape(shape: tuple[int | None, ...], x: Array) -> None:
    if shape != x.shape[1:]:
        raise UsageError(f"the model takes samples of shape {shape}, not {x.shape[1:]}")
