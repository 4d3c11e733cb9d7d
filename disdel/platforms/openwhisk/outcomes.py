"""How an activation ended, by what OpenWhisk and its runtimes say of it.

Texts are from apache/openwhisk (Messages in ErrorResponse.scala; KubernetesContainer.scala) and
apache/openwhisk-runtime-go (executor.go).
"""

from __future__ import annotations

from disdel.types import Ending

_OUT_OF_MEMORY = "exhausted its memory"
_IN_INIT = "during initialization"
# Under Kubernetes, and where only the action's process is killed, nothing says why.
_VANISHED = ("command exited", "exited unexpectedly")
# The same before the action runs, or what it imports fails: then the log has a traceback.
_NOT_STARTED = "Cannot start action"
# An image that is not there is one or the other, by the platform's settings.
_NO_IMAGE = "pull container image"
_NO_CONTAINER = "provision resources to run"
_INTERNAL = "whisk internal error"


def ending_of(status: str, result: object, *, timed_out: bool) -> Ending:
    """How an activation ended.

    Args:
        status: of its response.
        result: of its response.
        timed_out: its annotation of that name.
    """
    if status == "success":
        return "success"
    said = result.get("error") if isinstance(result, dict) else result
    # What the action says itself is an object; what is said of it is a text.
    text = said if isinstance(said, str) else ""
    if timed_out:
        return "start-time-limit" if _IN_INIT in text else "time-limit"
    if _OUT_OF_MEMORY in text:
        return "out-of-memory"
    if any(ended in text for ended in _VANISHED):
        return "vanished"
    if _NO_IMAGE in text:
        return "image-missing"
    if _NO_CONTAINER in text:
        return "no-container"
    if _NOT_STARTED in text:
        return "not-started"
    return "platform-error" if status == _INTERNAL else "application-error"
