"""The runtimes of this machine: kinds, and the container images that it can stand in for.

All of them are the interpreter that runs the platform, with the packages installed for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DEFAULT_KIND = "python:3.11"
KINDS = ("python:3", "python:3.10", DEFAULT_KIND)
BLACKBOX = "blackbox"

# [registry/]path[:tag][@digest], as Docker writes it.
_IMAGE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?/)?"
    r"(?P<path>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Image:
    """What a container of this image has in its environment."""

    env: Mapping[str, str]


_PLAIN = Image(MappingProxyType({}))
_BLACKBOXES: Mapping[str, Image] = MappingProxyType(
    {
        "disdel/runtime-base": Image(MappingProxyType({"DISDEL_PREIMPORT": "numpy"})),
        "disdel/runtime-tensorflow": Image(
            MappingProxyType(
                {
                    "DISDEL_PREIMPORT": "numpy,tensorflow,keras",
                    "KERAS_BACKEND": "tensorflow",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                }
            )
        ),
    }
)


def resolve_kind(kind: str) -> str | None:
    """The concrete kind, or None when the platform does not have it."""
    kind = kind.lower()
    if kind == "python:default":
        return DEFAULT_KIND
    return kind if kind in KINDS else None


def is_image_name(image: str) -> bool:
    return _IMAGE.fullmatch(image) is not None


def find_image(kind: str, image: str | None) -> Image | None:
    """The image of a kind, or a blackbox image by name; None when it cannot be had here.

    Registry, tag and digest are ignored: there is one of each on this machine.
    """
    if kind != BLACKBOX:
        return _PLAIN
    name = re.split(r"[:@]", (image or "").rpartition("/")[2])[0]
    folder = (image or "").rpartition("/")[0].rpartition("/")[2]
    return _BLACKBOXES.get(f"{folder}/{name}")


def manifest() -> dict[str, list[dict[str, object]]]:
    """The runtimes as the platform's information page lists them."""
    return {
        "python": [
            {
                "kind": kind,
                "default": kind == DEFAULT_KIND,
                "deprecated": False,
                "attached": True,
                "requireMain": False,
            }
            for kind in KINDS
        ]
    }
