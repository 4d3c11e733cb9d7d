"""Whether a function has what an action needs: the library that it was made with, its packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

import disdel
from disdel.connections.masking import masked
from disdel.errors import PlatformRejected
from disdel.platforms.parts import Carried, Parts

# Packages that compute: the same bits come from the same versions.
_COMPUTING = ("iree-base-runtime", "ml_dtypes", "numpy")
_EXPORT = "deploy anew what `disdel export --runtime compiled` writes"


def check_deployed(url: str, parts: Parts, said: Mapping[str, Any]) -> None:
    """Refuse a function that was deployed with other code than the action was made for.

    Args:
        url: of the function.
        parts: of the action's zip.
        said: its answer to `hello`.

    Raises:
        PlatformRejected: it was.
    """
    where = f"the function at {masked(url)}"
    if parts.library and parts.library != said["library"]:
        raise PlatformRejected(f"{where} has {_other_library(str(said['version']))}", status=409)
    if parts.carried is not None and (lacks := _lacking(parts.carried, said)):
        raise PlatformRejected(f"{where} {lacks}", status=409)


def _other_library(there: str) -> str:
    here = disdel.__version__
    if there == here:
        return (
            f"disdel {there}, as here, but with other files: deploy anew what `disdel export` "
            "writes"
        )
    return (
        f"disdel {there}, and this is {here}: deploy anew what `disdel export` writes, or install "
        "that version here: the older side is to be updated"
    )


def _lacking(carried: Carried, said: Mapping[str, Any]) -> str:
    """What a compiled network misses there, and what is to be done; empty where it has all."""
    machine = str(said["machine"])
    if machine not in carried.machines:
        return (
            f"runs on {machine}, and the network is compiled for {', '.join(carried.machines)}: "
            "name its architecture, --arch amd64,arm64"
        )
    found = said.get("packages")
    there = found if isinstance(found, Mapping) else {}
    for name in _COMPUTING:
        if name not in there:
            return (
                f"has no {name}, and compiled networks run on it: {_EXPORT}, or take --runtime "
                "torch or tensorflow"
            )
        if there[name] != carried.versions[name]:
            theirs, ours = str(there[name]), carried.versions[name]
            todo = _EXPORT
            if _is_newer(theirs, ours):
                todo = f"install {name}=={theirs} here, which is the older side, or {_EXPORT}"
            return f"has {name} {theirs}, and the network is compiled for {ours}: {todo}"
    return ""


def _is_newer(one: str, other: str) -> bool:
    try:
        return Version(one) > Version(other)
    except InvalidVersion:
        return False
