"""What a request must pass before anything is done for it: its version, and its signature."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import disdel
from disdel.errors import UsageError
from disdel.protocol.messages import Common, check_version, from_json
from disdel.protocol.signing import check_request, key_of_run
from disdel.protocol.signing_keys import ENDPOINT_ENV, bundled_key, deployed_secret

Reply = dict[str, object]

# The zip of an action.
_ROOT = Path(__file__).resolve().parents[2]


def admitted(
    args: Mapping[str, object], environ: Mapping[str, str] = os.environ, root: Path = _ROOT
) -> Callable[[Reply], Reply]:
    """What the reply to a request goes through, which signs it where requests are signed.

    Args:
        args: the request.
        environ: may name the secret that this endpoint was deployed with, and its name.
        root: of the bundle, which may have the key of its run.

    Raises:
        UsageError: it is of another version of the wire, of disdel, or of what else it names.
        RequestRefused: this endpoint takes signed requests alone, and its signature is not right.
    """
    common = from_json(Common, args)
    check_version(common)
    check_versions(common.versions)
    secret, bundled = deployed_secret(environ), bundled_key(root)
    if secret is not None:
        return check_request(
            args, lambda run: key_of_run(secret, run), endpoint=environ.get(ENDPOINT_ENV, "")
        )
    if bundled is not None:
        return check_request(args, lambda _: bundled)
    return lambda reply: reply


def check_versions(wanted: Mapping[str, str]) -> None:
    """Refuse a request of a controller whose libraries would not mean the same.

    Raises:
        UsageError: one is missing here, or differs in its first two numbers.
    """
    for name, version in wanted.items():
        here = _version_here(name)
        if here is None:
            raise UsageError(
                f"the controller asks for {name} {version}, which is not installed here: install "
                "it at this endpoint"
            )
        theirs, ours = _first_two(version), _first_two(here)
        if theirs != ours:
            which = "this endpoint" if theirs > ours else "the controller"
            raise UsageError(
                f"the controller has {name} {version} and this endpoint {here}: update {which}, "
                f"so that both have {name} {'.'.join(map(str, max(theirs, ours)))}"
            )


def _version_here(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    if name == "disdel":
        return disdel.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_two(version: str) -> tuple[int, ...]:
    numbers = (re.match(r"[0-9]*", part) for part in version.split(".")[:2])
    return tuple(int(found[0]) if found is not None and found[0] else 0 for found in numbers)
