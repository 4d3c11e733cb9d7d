"""What a Keras file says of its network, read without Keras and without trust."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disdel.errors import UsageError

_MOST_CONFIG_BYTES = 64 << 20
# Weights hardly shrink; what grows by so much when unpacked is meant to.
_MOST_GROWTH = 100
_BOMB_BYTES = 256 << 20
# Of these, classes are only looked up.
_PLAIN = ("keras", "keras_hub", "keras_cv", "keras_nlp", "builtins")
_BROKEN = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,  # encrypted; also NotImplementedError of a compression, and RecursionError
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_keras_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a Keras file.

    Raises:
        UsageError: it is none, or it would grow beyond measure when unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_growth(path, sum(info.file_size for info in archive.infolist()))
            with archive.open("config.json") as file:
                config = json.loads(file.read(_MOST_CONFIG_BYTES))
    except UsageError:
        raise
    except _BROKEN as error:
        raise UsageError(f"the model {path} is no Keras file: {error or type(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise UsageError(f"the model {path} is no Keras file: its config.json describes no network")
    return config


def _check_growth(path: Path, unpacked: int) -> None:
    size = path.stat().st_size
    if unpacked > max(_BOMB_BYTES, _MOST_GROWTH * size):
        raise UsageError(
            f"the model {path} is refused: it unpacks from {size:,} to {unpacked:,} bytes, which "
            "no weights do"
        )


def input_shape(config: dict[str, Any]) -> tuple[int | None, ...] | None:
    """Without the batch axis; None where the configuration does not say it in the plain way."""
    shapes = [
        settings.get("batch_shape")
        for layer in _objects(config["config"].get("layers"), depth=2)
        if layer.get("class_name") == "InputLayer" and isinstance(settings := layer["config"], dict)
    ]
    if len(shapes) != 1 or not isinstance(shapes[0], list):
        return None
    if not all(size is None or isinstance(size, int) for size in shapes[0]):
        return None
    return tuple(shapes[0][1:])


def runs_code(config: dict[str, Any]) -> list[str]:
    """What of a network is not Keras's own, and so is code that loading it imports or runs."""
    found = set()
    # It is loaded without loss and optimizer.
    for layer in _objects({**config, "compile_config": None}):
        module = str(layer.get("module") or "keras")
        if layer["class_name"] in ("Lambda", "__lambda__"):
            found.add("Python code in a Lambda layer")
        elif module.partition(".")[0] not in _PLAIN:
            found.add(f"{module}.{layer['class_name']}")
    return sorted(found)


def _objects(value: Any, depth: int = 200) -> Iterator[dict[str, Any]]:
    """The objects with a class in a configuration, at whatever depth down to `depth`."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and "config" in value:
            yield value
        inner = list(value.values())
    else:
        inner = value if isinstance(value, list) else []
    if depth:
        for item in inner:
            yield from _objects(item, depth - 1)
