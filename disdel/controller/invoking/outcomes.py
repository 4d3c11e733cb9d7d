"""What became of an activation: OpenWhisk's record read as one of a few outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from disdel.errors import ActivationFailed, ConnectionRefused, StoreLost
from disdel.types import ActivationRecord, Outcome
from openwhisk_local.machine.container_memory import CRITICAL_TEXT

# A container that was using this much of its limit when it vanished most likely ran out of it.
_NEARLY_FULL = 0.9

_OOM_TEXT = "exhausted its memory"
# Under Kubernetes, and where only the action's process is killed, nothing says why (openwhisk
# KubernetesContainer.scala; runtime-go executor.go).
_VANISHED_TEXTS = ("command exited", "exited unexpectedly")
# The same before the action runs, or what it imports fails: then the log has a traceback.
_NO_START_TEXT = "Cannot start action"
_RAISED_TEXTS = ("Traceback (most recent call last)", "SyntaxError")
_PULL_TEXT = "pull container image"
# An image that is not there is one or the other, by the platform's settings.
_NO_CONTAINER_TEXTS = (_PULL_TEXT, "provision resources to run")
_LOG_LINES_SHOWN = 20
_IN_INIT = "during initialization"
_SLOW_START = (
    "its container took that long to start: raise --timeout-max or the platform's time limit "
    "(whisk.duration.max; helm: whisk.limits.actions.time.max), or give containers more CPU"
)
# What an action says when its store does not answer: never, or not any more.
STORE_AWAY = frozenset({ConnectionRefused.kind, StoreLost.kind})
_STORE_ADVICE = (
    "that is the address as an action sees it: name one that the platform's containers reach with "
    "--redis"
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
) -> Failure | None:
    """None for a success, else what happened.

    Args:
        record: the activation's record.
        memory_mb: the action's limit.
        last_used_mb: what the action last said that it used, where it did.
        reached_store: whether other actions have found the store at its address.
        image: what the action's container is of, where it is of an image.
    """
    if record.status == "success":
        return None
    reason = _reason(record.result)
    if record.timed_out:
        in_init = _IN_INIT in reason
        advice = _SLOW_START if in_init else "raise --timeout-max, or use more --workers"
        return Failure("timeout", reason, advice, in_init=in_init)
    vanished = any(text in reason for text in _VANISHED_TEXTS)
    full = last_used_mb is not None and last_used_mb >= _NEARLY_FULL * memory_mb
    if _OOM_TEXT in reason or (vanished and full):
        used = "" if last_used_mb is None else f" (last measured: {last_used_mb} MB)"
        return _out_of_memory(reason, memory_mb, used)
    kind = error_kind(record)
    if kind in STORE_AWAY:
        return Failure("error", reason, _STORE_ADVICE, reached_store, kind)
    if any(text in reason for text in _NO_CONTAINER_TEXTS):
        # A pull that failed has been tried by the platform; room for a container may come.
        missing = _PULL_TEXT in reason
        return Failure("error", reason, _image_advice(image), not missing, missing_image=True)
    advice = "the activation's log says more"
    if _NO_START_TEXT in reason:
        return Failure("error", reason, advice, in_init=True, unexplained=True)
    lost = vanished or record.status == "whisk internal error"
    return Failure("error", reason, advice, lost, kind, unexplained=vanished)


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
