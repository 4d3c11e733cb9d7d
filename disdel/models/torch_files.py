"""Files of PyTorch models: a state dict as safetensors, and in its metadata what it is of.

Nothing in a file is executed. A network of the user's own needs its code beside the file. PyTorch
is imported where a module is made, not by reading what a file is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite
import safetensors

from disdel.errors import UsageError
from disdel.types.specs import ModelSpec
from disdel.user_code.module import UserModule

# PyTorch's types are not loaded.
Module = Any
Tensor = Any

# The key of a model file's metadata, and its version.
_METADATA = "disdel"
_FILE_VERSION = 2
# Networks of the first version standardised nothing.
_READ_VERSIONS = (1, _FILE_VERSION)
# What reading a file that is something else may end in.
_BROKEN = (
    OSError,
    KeyError,
    AttributeError,
    RecursionError,
    MemoryError,
    TypeError,
    ValueError,
    dacite.DaciteError,
    safetensors.SafetensorError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFile:
    """What a file is of: the network, and the dtype of the samples as stored."""

    model: ModelSpec
    input_dtype: str


def read_torch_file(path: Path) -> TorchFile:
    """What the weights in a file are of.

    Raises:
        UsageError: it is no file of `write_torch_file`.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            fields = json.loads((file.metadata() or {})[_METADATA])
        version = fields["version"]
        if version not in _READ_VERSIONS:
            raise UsageError(
                f"{path}: its version is {version} and this disdel reads {_READ_VERSIONS}"
            )
        return dacite.from_dict(TorchFile, fields, dacite.Config(cast=[tuple]))
    except _BROKEN as error:
        raise UsageError(f"{path} is no model of disdel's: {error}") from error


def write_torch_file(tensors: Mapping[str, Tensor], path: Path, about: TorchFile) -> None:
    """Write a state dict; tensors that share memory are written one by one."""
    import safetensors.torch

    seen: set[int] = set()
    alone = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        alone[name] = tensor.clone() if memory in seen else tensor
        alone[name] = alone[name].cpu().contiguous()
        seen.add(memory)
    fields = {"version": _FILE_VERSION, **asdict(about)}
    safetensors.torch.save_file(alone, path, {_METADATA: json.dumps(fields)})


def load_torch_network(path: Path, code: UserModule | None = None) -> Module:
    """The module with its weights: a `TorchNetwork`, or what the user's own function returns.

    Args:
        path: of a file that `write_torch_file` wrote.
        code: of the user's network, where it is one.

    Raises:
        UsageError: it is no such file, its code is missing or fails, or the weights are others.
    """
    import safetensors.torch

    about = read_torch_file(path)
    spec = about.model
    if spec.own is None:
        from disdel.models.builtin.torch_models import TorchNetwork

        network: Module = TorchNetwork(spec, input_dtype=about.input_dtype)
    elif code is None:
        raise UsageError(f"the weights are those of {spec.title}, and its code is not here")
    else:
        network = call_own(code, spec.input_shape, about.input_dtype, spec.classes)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        raise UsageError(
            f"the weights are not those of {spec.title} as it is now: {error}"
        ) from error
    return network


def call_own(
    code: UserModule, input_shape: tuple[int, ...], input_dtype: str, classes: int
) -> object:
    """What the user's function returns for samples of such a shape and dtype.

    Raises:
        UsageError: there is no such function, it wants more, or it failed.
    """
    shape = module_shape(input_shape, input_dtype)
    return code.call(input_shape=shape, classes=classes)


def are_images(input_shape: tuple[int, ...], input_dtype: str) -> bool:
    """Whether samples are (height, width, channels) of bytes, which a module takes otherwise."""
    return len(input_shape) == 3 and input_dtype == "uint8"


def module_shape(input_shape: tuple[int, ...], input_dtype: str) -> tuple[int, ...]:
    """The shape of a sample as the user's own module takes it: of images, channels come first."""
    if are_images(input_shape, input_dtype):
        height, width, channels = input_shape
        return (channels, height, width)
    return input_shape
