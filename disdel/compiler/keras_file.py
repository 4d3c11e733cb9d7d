"""The Keras file of a trained network, written without Keras.

The compiler has the model and writes its file once, every variable filled with its own number,
counted from 1. So the end of a run needs no process with Keras, whose import takes seconds: each
data set of the file's HDF5 part says which tensor of the state belongs there.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from disdel.errors import StoreError, UsageError
from disdel.types.arrays import Tensors

TEMPLATE = "template.keras"
_WEIGHTS = "model.weights.h5"
_MODEL_PREFIX = "model/"


def write_template(model: Any, path: Path) -> None:
    """Write the file of a Keras model with numbers in the place of weights, which are lost.

    Raises:
        UsageError: Keras does not save each weight as it is, as of layers with LoRA.
    """
    for number, variable in enumerate(model.variables, start=1):
        variable.assign(np.full(variable.shape, number, variable.dtype))
    model.save(path)
    with zipfile.ZipFile(path) as archive, _opened(io.BytesIO(archive.read(_WEIGHTS))) as file:
        try:
            _places(file, model.variables)
        except StoreError as error:
            raise UsageError(
                "the network cannot be compiled, since Keras's file does not have each of its "
                "weights as it is trained, as of layers with enable_lora: leave that out, or train "
                "with --runtime tensorflow"
            ) from error


def filled(template: Path, state: Tensors) -> bytes:
    """The Keras file of `template` with the weights of `state`.

    Raises:
        StoreError: the state is of another network.
    """
    tensors = [state[name] for name in sorted(state) if name.startswith(_MODEL_PREFIX)]
    made = io.BytesIO()
    with zipfile.ZipFile(template) as archive, zipfile.ZipFile(made, "w") as file:
        for member in archive.infolist():
            # One by one: a member may be as large as all weights.
            data = archive.read(member)
            if member.filename == _WEIGHTS:
                weights = io.BytesIO(data)
                del data
                with _opened(weights) as held:
                    for number, place in _places(held, tensors).items():
                        place[...] = tensors[number - 1]
                data = weights.getvalue()
            file.writestr(member, data)
    return made.getvalue()


def _opened(weights: io.BytesIO) -> Any:
    import h5py

    return h5py.File(weights, "r+")


def _places(file: Any, tensors: Sequence[Any]) -> dict[int, Any]:
    """The data sets of a template by the numbers in them, which are those of `tensors` from 1 on.

    Raises:
        StoreError: they are not.
    """
    import h5py

    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    places = {int(place[(0,) * place.ndim]): place for place in found}
    shapes = {number: place.shape for number, place in places.items()}
    expected = {
        number: tuple(tensor.shape)
        for number, tensor in enumerate(tensors, start=1)
        # Keras leaves the states of random generators out.
        if number in shapes or np.dtype(tensor.dtype) != np.uint32
    }
    if shapes != expected or len(places) != len(found):
        raise StoreError("the stored state is of another network than the compiled one")
    return places
