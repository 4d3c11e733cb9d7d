"""The runtimes of this machine: kinds, and the container images that it can stand in for.

Those for Python are the interpreter that runs the platform, with the packages installed for it.
Where `node` is on the path, there is a kind for JavaScript as well.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from openwhisk_local.replies import (
    CANNOT_START,
    COMMAND_EXITED,
    INIT_LOST,
    MEMORY_EXHAUSTED,
    RUN_LOST,
)

# What disdel's images stand for is served by this proxy on a cluster too; the kinds of Python are
# Apache's images there, with another one, whose ways this one takes on for them.
DEFAULT_KIND = "python:3.11"
KINDS = ("python:3", "python:3.10", DEFAULT_KIND)
BLACKBOX = "blackbox"
_ASKED_S = 10.0

# [registry/]path[:tag][@digest], as Docker writes it.
_IMAGE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?/)?"
    r"(?P<path>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?",
    re.ASCII,
)
# A registry, a path, a tag and a digest.
_MAX_IMAGE = 1024

Language = Literal["python", "nodejs"]


@dataclass(frozen=True, slots=True)
class Face:
    """What is said of a container that has ended: at once, or of too much memory."""

    init_lost: str = INIT_LOST
    init_exhausted: str = MEMORY_EXHAUSTED
    run_lost: str = RUN_LOST
    run_exhausted: str = MEMORY_EXHAUSTED


# The stock image has a proxy beside the action, which outlives it without knowing what it died of.
_STOCK_FACE = Face(CANNOT_START, CANNOT_START, COMMAND_EXITED, COMMAND_EXITED)


@dataclass(frozen=True, slots=True)
class Image:
    """What a container of this image has in its environment, and which proxy serves it.

    `preload` are the modules that containers get with the process that they are forked off, beside
    those that the proxy imports first; without any, each container is started by itself.
    """

    env: Mapping[str, str]
    language: Language = "python"
    face: Face = Face()
    preload: tuple[str, ...] = ()


# What an action of Python's that is in a zip and talks to others imports.
_COMMON = (
    *("asyncio", "csv", "encodings.cp437", "encodings.idna", "hashlib", "importlib.metadata"),
    *("importlib.resources", "pickle", "platform", "secrets", "ssl", "urllib.request", "uuid"),
)
# And what disdel's own do, of what its images hold.
_USED = (*_COMMON, "dacite", "numpy.random", "numpy.typing", "redis")
_PLAIN = Image(
    MappingProxyType(
        {
            "DISDEL_STOCK_PROXY": "1",
            "__OW_EXECUTION_ENV": f"openwhisk/action-{DEFAULT_KIND.replace(':', '-v')}",
            "__OW_PROXY_VERSION": "disdel",
            "__OW_WAIT_FOR_ACK": "1",
        }
    ),
    face=_STOCK_FACE,
    preload=_COMMON,
)
# Node has nothing to unpack a zip with.
_NODE = Image(MappingProxyType({"DISDEL_PYTHON": sys.executable}), "nodejs")
# Of numpy's BLAS, which is read when it is imported.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
_BLACKBOXES: Mapping[str, Image] = MappingProxyType(
    {
        "disdel/runtime-base": Image(
            MappingProxyType({**_ONE_THREAD, "DISDEL_PREIMPORT": "numpy"}), preload=_USED
        ),
        "disdel/runtime-tensorflow": Image(
            MappingProxyType(
                {
                    **_ONE_THREAD,
                    "DISDEL_PREIMPORT": "numpy,tensorflow,keras",
                    # What both import where it is installed, and an image does not have.
                    "DISDEL_PREIMPORT_WITHOUT": (
                        "IPython,jax,matplotlib,pandas,PIL,scipy,sklearn,torch"
                    ),
                    "KERAS_BACKEND": "tensorflow",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                }
            ),
            preload=_USED,
        ),
        "disdel/runtime-torch": Image(
            MappingProxyType(
                {
                    **_ONE_THREAD,
                    "DISDEL_PREIMPORT": "numpy,torch",
                    # Threads that wait for another soon sleep: a neighbour may have its core.
                    "GOMP_SPINCOUNT": "6000",
                }
            ),
            preload=(*_USED, "safetensors.torch"),
        ),
    }
)


@functools.cache
def node_kind() -> str | None:
    """The kind of the machine's `node`, None where there is none."""
    node = shutil.which("node")
    if node is None:
        return None
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=False, timeout=_ASKED_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"v(\d+)\.", said.stdout)
    return f"nodejs:{version[1]}" if version else None


def known_kinds() -> tuple[str, ...]:
    node = node_kind()
    return (*KINDS, node) if node else KINDS


def resolve_kind(kind: str) -> str | None:
    """The concrete kind, or None when the platform does not have it."""
    kind = kind.lower()
    if kind == "python:default":
        return DEFAULT_KIND
    if kind == "nodejs:default":
        return node_kind()
    return kind if kind in KINDS or kind in known_kinds() else None


def is_image_name(image: str) -> bool:
    return len(image) <= _MAX_IMAGE and _IMAGE.fullmatch(image) is not None


def image_key(kind: str, image: str | None) -> str:
    """Equal where a container is the same until it is initialized.

    Of an image, registry, tag and digest are ignored: there is one of each on this machine.
    """
    return kind if kind != BLACKBOX else _folder_and_name(image)


def _folder_and_name(image: str | None) -> str:
    name = re.split(r"[:@]", (image or "").rpartition("/")[2])[0]
    folder = (image or "").rpartition("/")[0].rpartition("/")[2]
    return f"{folder}/{name}"


def stem_key(kind_or_image: str) -> str | None:
    """The `image_key` of a kind, or of an image's name; None when it cannot be had here."""
    key = image_key(BLACKBOX, kind_or_image)
    return key if key in _BLACKBOXES else resolve_kind(kind_or_image)


def image_of_key(key: str) -> Image | None:
    """The image behind an `image_key`; None when it cannot be had here."""
    if key in KINDS:
        return _PLAIN
    return _BLACKBOXES.get(key) or (_NODE if key == node_kind() else None)


def manifest() -> dict[str, list[dict[str, object]]]:
    """The runtimes as the platform's information page lists them."""
    families: dict[str, list[dict[str, object]]] = {}
    for kind in known_kinds():
        families.setdefault(kind.partition(":")[0], []).append(
            {
                "kind": kind,
                "image": f"openwhisk/action-{kind.replace(':', '-v')}:nightly",
                "default": kind in (DEFAULT_KIND, node_kind()),
                "deprecated": False,
                "attached": True,
                "requireMain": False,
            }
        )
    return families
