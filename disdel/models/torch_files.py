"""Files of PyTorch models: a state dict as safetensors, and in its metadata what it is of.

Nothing in a file is executed. A network of the user's own needs its code beside the file. PyTorch
is imported where a module is made, not by reading what a file is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dacite
import safetensors

from disdel.errors import UsageError
from disdel.models.torch_files_before import described_then
from disdel.models.user.bundled import offered
from disdel.types.specs import ModelSpec, TargetSpec
from disdel.user_code.module import UserModule

# PyTorch's types are not loaded.
Module = Any
Tensor = Any

# The key of a model file's metadata, and its version.
_METADATA = "disdel"
_FILE_VERSION = 3
_READ_VERSIONS = (1, 2, _FILE_VERSION)
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


def read_torch_file(path: Path) -> ModelSpec:
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
        if version < _FILE_VERSION:
            return described_then(fields)
        return dacite.from_dict(ModelSpec, fields["model"], dacite.Config(cast=[tuple]))
    except _BROKEN as error:
        raise UsageError(f"{path} is no model of disdel's: {error}") from error


def write_torch_file(tensors: Mapping[str, Tensor], path: Path, spec: ModelSpec) -> None:
    """Write a state dict of any shapes; tensors that share memory are written one by one."""
    import safetensors.torch

    seen: set[int] = set()
    alone = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        alone[name] = tensor.clone() if memory in seen else tensor
        alone[name] = alone[name].cpu().contiguous()
        seen.add(memory)
    fields = {"version": _FILE_VERSION, "model": asdict(spec)}
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

    spec = read_torch_file(path)
    if spec.code is None:
        from disdel.models.builtin.torch_models import TorchNetwork

        network: Module = TorchNetwork(spec)
    elif code is None:
        raise UsageError(f"the weights are those of {spec.title}, and its code is not here")
    else:
        network = call_own(code, spec.input_shape, spec.input_dtype, spec.target)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        raise UsageError(
            f"the weights are not those of {spec.title} as it is now: {error}"
        ) from error
    return network


def call_own(
    code: UserModule, input_shape: tuple[int, ...], input_dtype: str, target: TargetSpec
) -> object:
    """What the user's function returns for samples of such a shape and dtype.

    Raises:
        UsageError: there is no such function, it wants more, or it failed.
    """
    return code.call(**offered(module_shape(input_shape, input_dtype), target))


def are_images(input_shape: tuple[int, ...], input_dtype: str) -> bool:
    """Whether samples are (height, width, channels) of bytes, which a module takes otherwise."""
    return len(input_shape) == 3 and input_dtype == "uint8"


def module_shape(input_shape: tuple[int, ...], input_dtype: str) -> tuple[int, ...]:
    """The shape of a sample as the user's own module takes it: of images, channels come first."""
    if are_images(input_shape, input_dtype):
        height, width, channels = input_shape
        return (channels, height, width)
    return input_shape
