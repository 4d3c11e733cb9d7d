"""The function behind a URL: a POST of JSON is a request of `protocol/calls.py`.

`disdel export` deploys this with the library. An instance runs one call at a time, unless
`DISDEL_CONCURRENCY` says otherwise, and answers others by 503. A call that comes again under the
same key, because its answer got lost, is answered by the first one's.
"""

from __future__ import annotations

import functools
import hmac
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disdel.entry.admission import deployed_admission
from disdel.entry.answering import Answering
from disdel.entry.call import ROOT
from disdel.entry.containers import Containers
from disdel.protocol.calls import CALLS_VERSION, DEPLOYED, KEY, TOKEN

# Of calls that may come again.
_MOST_KEPT = 64
_LONGEST_KEPT = 1 << 20
# Time limits that platforms tell a function in its environment, in seconds or in Go's words.
_TIMEOUTS = (
    "CLOUD_RUN_TIMEOUT_SECONDS",
    "exec_timeout",
    "read_timeout",
    "write_timeout",
    "upstream_timeout",
)
# Packages whose versions are told.
_TOLD = (
    "iree-base-runtime",
    "keras",
    "ml_dtypes",
    "numpy",
    "redis",
    "safetensors",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


class _Kept:
    """A call of a key: its answer, once it is there."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: dict[str, Any] = {}


class Function:
    """What serves requests in one instance. Threads may share it.

    Args:
        answering: the calls.
        concurrency: how many run at once.
        token: that a request must bring; empty for none.
    """

    def __init__(self, answering: Answering, *, concurrency: int = 1, token: str = "") -> None:
        self._answering = answering
        self._turn = threading.BoundedSemaphore(concurrency)
        self._token = token
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def serve(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer to a POST."""
        named = {name.lower(): text for name, text in headers.items()}
        if not self._may(named):
            return _refused(401, "the function wants its token, and it is another one or missing")
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return _refused(400, "the body is no JSON")
        if not isinstance(request, dict) or request.get("do") != "call":
            return _answered(self._answering.answer(request))
        key = named.get(KEY.lower(), "")
        with self._lock:
            kept = self._kept.get(key) if key else None
            first = kept is None
            if first and not self._turn.acquire(blocking=False):
                return _refused(503, "the instance is busy", {"Retry-After": "1"})
            if kept is None:
                kept = _Kept()
                if key:
                    self._kept[key] = kept
        if first:
            self._run(key, kept, request)
        kept.done.wait()
        return _answered(kept.answer)

    def _run(self, key: str, kept: _Kept, request: dict[str, Any]) -> None:
        try:
            kept.answer = self._answering.answer(request)
        finally:
            self._turn.release()
            with self._lock:
                # What has not run, or is long, is done again.
                if "ending" not in kept.answer or len(str(kept.answer)) > _LONGEST_KEPT:
                    self._kept.pop(key, None)
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
            kept.done.set()

    def _may(self, headers: Mapping[str, str]) -> bool:
        if not self._token:
            return True
        # Where the platform's own token is in the usual place, ours is in another.
        brought = headers.get(TOKEN.lower()) or headers.get("authorization", "")
        brought = brought.removeprefix("Bearer ").strip()
        return hmac.compare_digest(brought.encode(), self._token.encode())


def serve(body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
    """Answer a POST in the function that is deployed here."""
    return _function().serve(body, headers)


async def serve_asgi(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """Answer a request as an ASGI application does."""
    import asyncio

    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]}
    status, answered, text = await asyncio.to_thread(serve, body, headers)
    pairs = [(name.encode(), value.encode()) for name, value in answered.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": text.encode()})


@functools.cache
def _function() -> Function:
    facts = json.loads((ROOT / DEPLOYED).read_text(encoding="utf-8"))
    facts["timeouts"] = timeouts(facts.get("timeout_s"), os.environ)
    facts["packages"] = _packages()
    return Function(
        Answering(Containers(), ROOT, facts, deployed_admission()),
        concurrency=int(os.environ.get("DISDEL_CONCURRENCY", "1")),
        token=_secret(os.environ),
    )


def _secret(environ: Mapping[str, str]) -> str:
    if file := environ.get("DISDEL_TOKEN_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return environ.get("DISDEL_TOKEN", "")


def timeouts(deployed_s: float | None, environ: Mapping[str, str]) -> dict[str, float]:
    """The time limits that an instance knows of, in seconds, by their names."""
    found = {} if deployed_s is None else {"timeout": float(deployed_s)}
    for name in _TIMEOUTS:
        matched = _DURATION.fullmatch(environ.get(name, "").strip())
        if matched and any(matched.groups()):
            hours, minutes, seconds = (float(part or 0) for part in matched.groups())
            if limit_s := 3600 * hours + 60 * minutes + seconds:
                found[name] = limit_s
    return found


def _packages() -> dict[str, str]:
    """The versions of what actions import, of what is here."""
    from importlib import metadata

    found = {}
    for name in _TOLD:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _answered(reply: Mapping[str, Any]) -> tuple[int, dict[str, str], str]:
    status = reply["status"] if "refused" in reply else 200
    return status, {"Content-Type": "application/json"}, json.dumps(reply)


def _refused(
    status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    reply = {"disdel": CALLS_VERSION, "refused": sentence, "status": status}
    _, own, text = _answered(reply)
    return status, {**own, **(headers or {})}, text
