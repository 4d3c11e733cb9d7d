"""Activation records: what they say."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Literal

from openwhisk_local.entities.fields import Annotations, Json, pairs_to_wire
from openwhisk_local.entities.names import NAMESPACE
from openwhisk_local.replies import BAD_ACTIVATION_ID, ApiError

ID_LENGTH = 32
_ID = re.compile(r"[0-9a-f]{32}")

StatusCode = Literal[0, 1, 2, 3]
SUCCESS: StatusCode = 0
APPLICATION_ERROR: StatusCode = 1
DEVELOPER_ERROR: StatusCode = 2
INTERNAL_ERROR: StatusCode = 3

_STATUS = ("success", "application error", "action developer error", "whisk internal error")


@dataclass(frozen=True, slots=True)
class Response:
    """What an activation produced; `size_bytes` is the length of the raw text, where known."""

    code: StatusCode
    result: Json
    size_bytes: int | None = None

    @classmethod
    def failed(cls, code: StatusCode, message: Json) -> Response:
        return cls(code, {"error": message})

    @property
    def keeps_container(self) -> bool:
        return self.code in (SUCCESS, APPLICATION_ERROR)

    @property
    def http_status(self) -> int:
        return (200, 502, 502, 500)[self.code]

    def to_wire(self) -> dict[str, Json]:
        wire = {
            "status": _STATUS[self.code],
            "success": self.code == SUCCESS,
            "result": self.result,
        }
        return wire if self.size_bytes is None else {**wire, "size": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One activation: of an action or a sequence that has ended, or of a trigger that was fired.

    Args:
        duration_ms: what the caller is charged for: of a sequence the sum over its components.
        end_ms: None for a trigger, which only begins.
        cause: the id of the sequence that this activation is a part of.
        namespace: of whoever invoked it.
        logs: the log lines of an action, the activation ids of a sequence's components, and one
            JSON text a rule for a trigger.
    """

    id: str
    name: str
    version: str
    start_ms: int
    end_ms: int | None
    duration_ms: int | None
    response: Response
    annotations: Annotations
    logs: tuple[str, ...] = ()
    cause: str | None = None
    namespace: str = NAMESPACE

    @property
    def filter_name(self) -> str:
        """What a list's `name` must say to find this: package, if any, and name.

        The package is the binding, where there is one.
        """
        place = self.annotations.get("binding")
        if place is None:
            place = str(self.annotations.get("path", "")).rpartition("/")[0]
        package = str(place).partition("/")[2]
        return f"{package}/{self.name}" if package else self.name

    def to_wire(self, *, with_logs: bool = True) -> dict[str, Json]:
        return {
            **self.head_to_wire(),
            "response": self.response.to_wire(),
            "logs": list(self.logs) if with_logs else [],
        }

    def head_to_wire(self) -> dict[str, Json]:
        """Everything but `response` and `logs`."""
        return {**self._head(self.duration_ms), "subject": self.namespace}

    def summary(self) -> dict[str, Json]:
        elapsed_ms = None if self.end_ms is None else self.end_ms - self.start_ms
        return {**self._head(elapsed_ms), "statusCode": self.response.code}

    def _head(self, duration_ms: int | None) -> dict[str, Json]:
        optional = {"end": self.end_ms, "duration": duration_ms, "cause": self.cause}
        return {
            "activationId": self.id,
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "publish": False,
            "start": self.start_ms,
            "annotations": pairs_to_wire(self.annotations),
            **{key: value for key, value in optional.items() if value is not None},
        }


def check_activation_id(text: str) -> str:
    """`text`, if it is an activation id; raises `ApiError` 400 otherwise."""
    if len(text) != ID_LENGTH:
        raise ApiError(400, f"Activation id length is {len(text)} but must be {ID_LENGTH}.")
    if not _ID.fullmatch(text):
        raise ApiError(400, BAD_ACTIVATION_ID)
    return text


def new_activation_id() -> str:
    return uuid.uuid4().hex
