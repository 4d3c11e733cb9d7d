"""What the ending of an activation means to its run, and what to advise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from disdel.errors import ActivationFailed, ConnectionRefused, StoreLost
from disdel.types import ActivationRecord, LimitNames, Outcome
from disdel.types.plan import in_brackets
from openwhisk_local.machine.container_memory import CRITICAL_TEXT

# A container that was using this much of its limit when it vanished most likely ran out of it.
_NEARLY_FULL = 0.9

# What a log has where it was the code that failed.
_RAISED_TEXTS = ("Traceback (most recent call last)", "SyntaxError")
_LOG_LINES_SHOWN = 20
_UNNAMED = LimitNames()
_SEE_LOG = "the activation's log says more"
# What an action says when its store does not answer: never, or not any more.
STORE_AWAY = frozenset({ConnectionRefused.kind, StoreLost.kind})
_STORE_ADVICE = (
    "that is the address as an action sees it: name one that the platform's containers reach with "
    "--store"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an activation has no usable result.

    `lost` is true where the action did not end by itself: run again, it may end well. `cause` is
    the kind of the error that the action itself raised. `in_init` is whether it was lost before the
    action ran, `missing_image` whether it had no container, mostly for want of its image, and
    `unexplained` whether its container ended and nobody says why.
    """

    outcome: Outcome
    reason: str
    advice: str
    lost: bool = True
    cause: str = ""
    in_init: bool = False
    missing_image: bool = False
    unexplained: bool = False


def failure_of(
    record: ActivationRecord,
    *,
    memory_mb: int,
    last_used_mb: int | None,
    reached_store: bool = False,
    image: str | None = None,
    names: LimitNames = _UNNAMED,
) -> Failure | None:
    """None for a success, else what happened.

    Args:
        record: the activation's record.
        memory_mb: the action's limit.
        last_used_mb: what the action last said that it used, where it did.
        reached_store: whether other actions have found the store at its address.
        image: what the action's container is of, where it is of an image.
        names: of the platform's settings that raise its limits.
    """
    reason = _reason(record.result)
    match record.ending:
        case "success":
            return None
        case "time-limit":
            return Failure("timeout", reason, "raise --timeout-max, or use more --workers")
        case "start-time-limit":
            return Failure("timeout", reason, _slow_start(names), in_init=True)
        case "out-of-memory":
            used = "" if last_used_mb is None else f" (last measured: {last_used_mb} MB)"
            return _out_of_memory(reason, memory_mb, used)
        case "vanished":
            if last_used_mb is not None and last_used_mb >= _NEARLY_FULL * memory_mb:
                return _out_of_memory(reason, memory_mb, f" (last measured: {last_used_mb} MB)")
            return Failure("error", reason, _SEE_LOG, unexplained=True)
        case "not-started":
            return Failure("error", reason, _SEE_LOG, in_init=True, unexplained=True)
        case "image-missing":
            # The platform has tried to have it.
            advice = _image_advice(image)
            return Failure("error", reason, advice, lost=False, missing_image=True)
        case "no-container":
            # Room for one may come.
            return Failure("error", reason, _image_advice(image), missing_image=True)
        case "platform-error":
            return Failure("error", reason, _SEE_LOG)
        case "application-error":
            kind = error_kind(record)
            if kind in STORE_AWAY:
                return Failure("error", reason, _STORE_ADVICE, reached_store, kind)
            return Failure("error", reason, _SEE_LOG, lost=False, cause=kind)


def explained(failure: Failure, logs: Sequence[str], *, memory_mb: int) -> Failure:
    """The failure with what the activation's log says where nobody else says why."""
    if not failure.unexplained:
        return failure
    if any(CRITICAL_TEXT in line for line in logs):
        return _out_of_memory(failure.reason, memory_mb, "; its log says that this was used up")
    raised = any(text in line for line in logs for text in _RAISED_TEXTS)
    if failure.in_init and raised:
        return replace(failure, lost=False, unexplained=False)
    return failure


def _out_of_memory(reason: str, memory_mb: int, seen: str) -> Failure:
    return Failure(
        "oom",
        f"{reason.rstrip('.')}. Its limit was {memory_mb} MB{seen}.",
        "raise --memory-max or the platform's limit, or train with a smaller --batch",
    )


def _slow_start(names: LimitNames) -> str:
    return (
        "its container took that long to start: raise --timeout-max or the platform's time limit"
        f"{in_brackets(names.timeout)}, or give containers more CPU"
    )


def _image_advice(image: str | None) -> str:
    if image is None:
        return "the platform could not start a container: its own log says why"
    return (
        f"is {image} where the platform takes images from? runtime-image/build makes it (--push, "
        "or load it there), --image-prefix and --image-tag name another; else its log says why"
    )


def _reason(result: object) -> str:
    """The text of `{"error": …}`, which an action may fill with anything."""
    error = result.get("error") if isinstance(result, dict) else result
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)


def error_kind(record: ActivationRecord) -> str:
    """What one of disdel's actions calls its error; empty for what anything else raised."""
    error = record.result.get("error") if isinstance(record.result, dict) else None
    return str(error.get("kind", "")) if isinstance(error, dict) else ""


def odd_answer(action: str, why: str, activation_id: str = "") -> ActivationFailed:
    """The error of an activation whose answer is none of its action's: another may be."""
    return ActivationFailed(
        f"{action} has answered what it cannot have: {why}",
        activation_id=activation_id,
        outcome="error",
        lost=True,
        reason=f"its answer cannot be: {why}",
    )


def activation_failed(
    record: ActivationRecord, failure: Failure, action: str, logs: tuple[str, ...]
) -> ActivationFailed:
    """The error that ends a run over this activation."""
    shown = "\n".join(f"  {line}" for line in logs[-_LOG_LINES_SHOWN:])
    return ActivationFailed(
        f"{action} failed ({failure.outcome}): {failure.reason}\n"
        f"activation {record.id}; {failure.advice}"
        + (f"\nits log ends:\n{shown}" if shown else ""),
        activation_id=record.id,
        outcome=failure.outcome,
        lost=failure.lost,
        cause=failure.cause,
        reason=failure.reason,
        in_init=failure.in_init,
        unexplained=failure.unexplained,
        logs=logs,
    )
