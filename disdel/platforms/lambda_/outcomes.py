"""How an invocation ended, by what Lambda answers and by the end of its log.

Lambda answers 200 to what failed, too, with the header `X-Amz-Function-Error`; its emulator says
by a text alone that the time was up. Error types are from the runtime API and
https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from disdel.types import Ending

_TIMED_OUT = re.compile(r"Task timed out after [0-9.]+ seconds")
_REPORT = re.compile(r"^REPORT RequestId: (?P<id>[0-9a-f-]{36})\b(?P<facts>.*)$", re.MULTILINE)
_FACT = re.compile(r"\b(Init Duration|Duration|Memory Size|Max Memory Used): ([0-9.]+) (?:ms|MB)")
# Written where the start of a container failed or took too long; then it begins again inside the
# invocation, whose time ends it as well.
_INIT_REPORT = re.compile(r"^INIT_REPORT\b.*\bPhase: invoke\b.*\bStatus: timeout", re.MULTILINE)
# Of a start that was thrown away, before the invocation in which it was begun again.
_THROWN_AWAY = re.compile(
    r"^INIT_REPORT Init Duration: ([0-9.]+) ms\b.*\bPhase: init\b.*\bStatus: timeout", re.MULTILINE
)
_OUT_OF_MEMORY = "Runtime.OutOfMemory"
_EXITED = "Runtime.ExitError"
# By the kernel, for want of memory. Where much was left, somebody else has done it.
_KILLED = "signal: killed"
_NEARLY_FULL = 0.9
_TOO_LARGE = "Function.ResponseSizeTooLarge"
_TIME_LIMITS = ("Sandbox.Timedout", "Runtime.Timedout")
# Its image or its key is gone, or was never there.
_NO_CODE = ("Image", "CodeArtifact", "KMS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What Lambda says of an invocation in the last line of its log; None of what it does not.

    `init_ms` is there of the first one of a container; `thrown_away_ms` where its start took too
    long, and was begun again inside the invocation, as a part of `duration_ms`.
    """

    duration_ms: float | None = None
    init_ms: float | None = None
    thrown_away_ms: float | None = None
    memory_mb: int | None = None
    used_mb: int | None = None

    @property
    def nearly_full(self) -> bool:
        """Whether its memory was used up, as far as is known."""
        if self.used_mb is None or self.memory_mb is None:
            return True
        return self.used_mb >= _NEARLY_FULL * self.memory_mb


@dataclass(frozen=True, slots=True)
class Answer:
    """How an invocation ended, and its result: the action's own, or `{"error": REASON}`."""

    ending: Ending
    result: object


def report_in(log: str) -> Report:
    """The facts of an invocation by the end of its log."""
    found = list(_REPORT.finditer(log))
    if not found:
        return Report()
    facts = dict(_FACT.findall(found[-1]["facts"]))

    def whole(name: str) -> int | None:
        return int(float(facts[name])) if name in facts else None

    thrown_away = _THROWN_AWAY.search(log)
    return Report(
        thrown_away_ms=float(thrown_away[1]) if thrown_away else None,
        duration_ms=float(facts["Duration"]) if "Duration" in facts else None,
        init_ms=float(facts["Init Duration"]) if "Init Duration" in facts else None,
        memory_mb=whole("Memory Size"),
        used_mb=whole("Max Memory Used"),
    )


def answer_of(payload: bytes, function_error: str | None, log: str = "") -> Answer:
    """How an invocation ended that was answered with 200.

    Args:
        payload: the body.
        function_error: the header `X-Amz-Function-Error`.
        log: the end of its log.
    """
    text = payload.decode(errors="replace")
    try:
        result: object = json.loads(text)
    except (ValueError, RecursionError):
        if (timed_out := _TIMED_OUT.search(text)) and len(text) < 2 * len(timed_out[0]):
            return _time_limit(timed_out[0], log)
        return _failed("platform-error", f"no JSON was answered: {text[:200]!r}")
    if function_error is not None:
        return _function_error(result, log)
    if not isinstance(result, dict):
        return _failed("platform-error", f"no JSON object was answered: {text[:200]}")
    return Answer("application-error" if "error" in result else "success", result)


def _function_error(result: object, log: str) -> Answer:
    """How a function ended that Lambda says has failed."""
    facts = result if isinstance(result, dict) else {"errorMessage": str(result)}
    kind, message = str(facts.get("errorType", "")), str(facts.get("errorMessage", ""))
    said = f"{kind}: {message}".strip(": ") or "the function failed"
    if kind in _TIME_LIMITS or _TIMED_OUT.search(message):
        return _time_limit(message or said, log)
    if kind == _OUT_OF_MEMORY or (kind in (_EXITED, "") and _KILLED in message):
        report = report_in(log)
        used = "" if report.used_mb is None else f" ({report.used_mb} MB in use at most)"
        full = kind == _OUT_OF_MEMORY or report.nearly_full
        return _failed("out-of-memory" if full else "vanished", said + used)
    if kind == _EXITED or not kind:
        return _failed("vanished", said)
    if kind == _TOO_LARGE:
        return _failed("application-error", said)
    if kind.startswith(_NO_CODE):
        return _failed("image-missing", said)
    # What an action raises is its answer. So what is left has been raised by its import.
    return _failed("not-started", said)


def _time_limit(said: str, log: str) -> Answer:
    return _failed("start-time-limit" if _INIT_REPORT.search(log) else "time-limit", said)


def _failed(ending: Ending, reason: str) -> Answer:
    return Answer(ending, {"error": reason})
