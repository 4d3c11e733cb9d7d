"""The Keras file of a trained network, written without Keras.

The compiler has the model and writes its file once, every variable filled with its own number,
counted from 1. So the end of a run needs no process with Keras, whose import takes seconds: each
data set of the file's HDF5 part says which tensor of the state belongs there.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from disdel.errors import StoreError
from disdel.types.arrays import Tensors

TEMPLATE = "template.keras"
_WEIGHTS = "model.weights.h5"
_MODEL_PREFIX = "model/"


def write_template(model: Any, path: Path) -> None:
    """Write the file of a Keras model with numbers in the place of weights, which are lost."""
    for number, variable in enumerate(model.variables, start=1):
        variable.assign(np.full(variable.shape, number, variable.dtype))
    model.save(path)


def filled(template: Path, state: Tensors) -> bytes:
    """The Keras file of `template` with the weights of `state`.

    Raises:
        StoreError: the state is of another network.
    """
    import h5py

    tensors = [state[name] for name in sorted(state) if name.startswith(_MODEL_PREFIX)]
    made = io.BytesIO()
    with zipfile.ZipFile(template) as archive, zipfile.ZipFile(made, "w") as file:
        for member in archive.infolist():
            # One by one: a member may be as large as all weights.
            data = archive.read(member)
            if member.filename == _WEIGHTS:
                weights = io.BytesIO(data)
                del data
                with h5py.File(weights, "r+") as places:
                    _fill(places, tensors)
                data = weights.getvalue()
            file.writestr(member, data)
    return made.getvalue()


def _fill(file: Any, tensors: list[Any]) -> None:
    import h5py

    places: list[Any] = []
    file.visititems(lambda _, item: places.append(item) if isinstance(item, h5py.Dataset) else None)
    numbers = [int(np.ravel(place[()])[0]) for place in places]
    shapes = {number: place.shape for number, place in zip(numbers, places, strict=True)}
    expected = {
        number: tensor.shape
        for number, tensor in enumerate(tensors, start=1)
        # Keras leaves the states of random generators out.
        if number in shapes or tensor.dtype != np.uint32
    }
    if shapes != expected:
        raise StoreError("the stored state is of another network than the compiled one")
    for number, place in zip(numbers, places, strict=True):
        place[...] = tensors[number - 1]
