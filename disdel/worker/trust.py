"""What a request must pass before anything is done for it: its version, and its signature."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import disdel
from disdel.errors import RequestRefused, UsageError
from disdel.protocol.messages import Common, check_version, from_json
from disdel.protocol.signing import check_request, key_of_run
from disdel.protocol.signing_keys import ENDPOINT_ENV, bundled_key, deployed_secret

Reply = dict[str, object]

_OF_NO_SERVER = "inline:"
# Packages that are one framework.
_DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu")}
# Longer than any signature holds: the longest time limit, an hour in a queue, and wrong clocks.
_REMEMBERED_S = 6 * 3600.0
_seen: dict[str, float] = {}
_seen_lock = threading.Lock()
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
    bundled = bundled_key(root)
    secret = deployed_secret(environ) if bundled is None else None
    if secret is None and bundled is None:
        return lambda reply: reply
    # What is bundled is of the endpoint where it was made, whatever variables are set around it.
    if bundled is not None:
        sign = check_request(args, lambda _run, _endpoint: bundled)
    elif secret is not None:
        endpoint = environ.get(ENDPOINT_ENV, "")
        sign = check_request(args, partial(key_of_run, secret), endpoint=endpoint)
    if common.invocation is not None and common.store.startswith(_OF_NO_SERVER):
        _first_time(f"{common.run} {common.invocation}")
    return sign


def _first_time(nonce: str) -> None:
    """Refuse what this process was sent before, where no store that others share has its claim.

    Raises:
        RequestRefused: it was.
    """
    now_s = time.monotonic()
    with _seen_lock:
        for old in [seen for seen, until_s in _seen.items() if until_s < now_s]:
            del _seen[old]
        if nonce in _seen:
            raise RequestRefused("this request was sent before: its reply is not made twice")
        _seen[nonce] = now_s + _REMEMBERED_S


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
        return ".".join(map(str, sys.version_info[:3]))
    if name == "disdel":
        return disdel.__version__
    # Seldom asked for, and a cold start would wait for it.
    import importlib.metadata

    for distribution in _DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _first_two(version: str) -> tuple[int, ...]:
    numbers = (re.match(r"[0-9]*", part) for part in version.split(".")[:2])
    return tuple(int(found[0]) if found is not None and found[0] else 0 for found in numbers)
