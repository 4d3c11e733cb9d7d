"""The fields that all entities share: parameters, annotations, version and publication."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openwhisk_local.limits import MAX_PARAMETERS_BYTES
from openwhisk_local.replies import BAD_PAIRS, BAD_VERSION, malformed, too_large

# A JSON value, as `json` gives it.
Json = Any

FIRST_VERSION = "0.0.1"
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_NUMBER = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A stored value; one that is `init` becomes an environment variable at `/init` instead."""

    value: Json
    init: bool = False


Parameters = Mapping[str, Parameter]
Annotations = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class CommonPut:
    """What a PUT says of the shared fields; None is what was left out."""

    parameters: Parameters | None
    annotations: Annotations | None
    version: str | None
    publish: bool | None


def read_common(wire: Mapping[str, Json]) -> CommonPut:
    """The shared fields of a request.

    Raises:
        ApiError: 400 malformed, 413 a field is too large.
    """
    return CommonPut(
        _read_parameters(wire), _read_annotations(wire), _read_version(wire), _read_publish(wire)
    )


def next_version(version: str) -> str:
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def compact_json(value: Json) -> bytes:
    """The shortest text; half of a surrogate pair becomes a question mark, as in Java."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="replace")


def parameters_to_wire(parameters: Parameters) -> list[dict[str, Json]]:
    return [
        {"key": key, "value": parameter.value} | ({"init": True} if parameter.init else {})
        for key, parameter in parameters.items()
    ]


def pairs_to_wire(pairs: Mapping[str, Json]) -> list[dict[str, Json]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]


def _read_parameters(wire: Mapping[str, Json]) -> Parameters | None:
    pairs = _pairs(wire, "parameters")
    if pairs is None:
        return None
    return {
        pair["key"]: Parameter(pair["value"], init=pair.get("init", False) is True)
        for pair in pairs
    }


def _read_annotations(wire: Mapping[str, Json]) -> Annotations | None:
    pairs = _pairs(wire, "annotations")
    return None if pairs is None else {pair["key"]: pair["value"] for pair in pairs}


def _pairs(wire: Mapping[str, Json], field: str) -> list[dict[str, Json]] | None:
    pairs = wire.get(field)
    if pairs is None:
        return None
    if not isinstance(pairs, list):
        raise malformed(BAD_PAIRS)
    for pair in pairs:
        if not isinstance(pair, dict) or "value" not in pair:
            raise malformed(BAD_PAIRS)
        key = pair.get("key")
        if not isinstance(key, str):
            raise malformed(BAD_PAIRS)
    check_size(field, sum(pair_bytes(pair["key"], pair["value"]) for pair in pairs))
    return pairs


def pair_bytes(key: str, value: Json) -> int:
    """What a parameter or an annotation counts."""
    return len(key.encode()) + len(compact_json(value))


def check_size(field: str, size_bytes: int) -> None:
    """Raises `ApiError` 413 for parameters, annotations or the like that are too large."""
    if size_bytes > MAX_PARAMETERS_BYTES:
        raise too_large(field, size_bytes, MAX_PARAMETERS_BYTES)


def _read_publish(wire: Mapping[str, Json]) -> bool | None:
    publish = wire.get("publish")
    if not isinstance(publish, bool | None):
        raise malformed(f"Expected JsBoolean, but got {compact_json(publish).decode()}")
    return publish


def _read_version(wire: Mapping[str, Json]) -> str | None:
    version = wire.get("version")
    return None if version is None else _normal_version(version)


def _normal_version(version: Json) -> str:
    """Three numbers, as Scala reads a version: what is missing is 0, what is more is nothing."""
    # Its split drops what is empty at the end.
    parts = version.rstrip(".").split(".") if isinstance(version, str) else []
    given = parts[:3]
    if not all(_NUMBER.fullmatch(part) for part in given):
        raise malformed(BAD_VERSION)
    numbers = [int(part) for part in given] + [0] * (3 - len(given))
    if not any(numbers) or any(not 0 <= number <= _MAX_NUMBER for number in numbers):
        raise malformed(BAD_VERSION)
    return ".".join(str(number) for number in numbers)
