"""Activation records: what they say, how lists filter them, and where they are kept."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from disdel.embedded.entities import NAMESPACE, Json, pairs_to_wire
from disdel.embedded.limits import ActionLimits
from disdel.embedded.replies import BAD_ACTIVATION_ID, NO_RESOURCE, ApiError

MAX_RECORDS = 10_000
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
    """One finished activation. `init_ms` is None on a warm start, as in OpenWhisk."""

    id: str
    package: str | None
    name: str
    version: str
    kind: str
    limits: ActionLimits
    start_ms: int
    duration_ms: int
    wait_ms: int
    init_ms: int | None
    timed_out: bool
    peak_memory_mb: int | None
    response: Response
    logs: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.package}/{self.name}" if self.package else self.name

    def annotations(self) -> dict[str, Json]:
        optional = {"initTime": self.init_ms, "peakMemory": self.peak_memory_mb}
        return {
            "path": f"{NAMESPACE}/{self.full_name}",
            "kind": self.kind,
            "waitTime": self.wait_ms,
            "timeout": self.timed_out,
            "limits": self.limits.to_wire(),
            **{key: value for key, value in optional.items() if value is not None},
        }

    def to_wire(self, *, with_logs: bool = True) -> dict[str, Json]:
        return {
            **self._head(),
            "subject": NAMESPACE,
            "response": self.response.to_wire(),
            "logs": list(self.logs) if with_logs else [],
        }

    def summary(self) -> dict[str, Json]:
        return {**self._head(), "statusCode": self.response.code}

    def _head(self) -> dict[str, Json]:
        return {
            "activationId": self.id,
            "namespace": NAMESPACE,
            "name": self.name,
            "version": self.version,
            "publish": False,
            "start": self.start_ms,
            "end": self.start_ms + self.duration_ms,
            "duration": self.duration_ms,
            "annotations": pairs_to_wire(self.annotations()),
        }


def check_activation_id(text: str) -> str:
    """`text`, if it is an activation id; raises `ApiError` 400 otherwise."""
    if len(text) != ID_LENGTH:
        raise ApiError(400, f"Activation id length is {len(text)} but must be {ID_LENGTH}.")
    if not _ID.fullmatch(text):
        raise ApiError(400, BAD_ACTIVATION_ID)
    return text


class ActivationStore:
    """The records of this platform, in memory; beyond `MAX_RECORDS` the oldest are dropped."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()

    def put(self, record: Record) -> None:
        self._records[record.id] = record
        if len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)

    def get(self, activation_id: str) -> Record:
        """The record; raises `ApiError` 404 until the activation has finished."""
        record = self._records.get(activation_id)
        if record is None:
            raise ApiError(404, NO_RESOURCE)
        return record

    def select(
        self, *, name: str | None, since_ms: int | None, upto_ms: int | None
    ) -> Iterator[Record]:
        """Records by start, newest first; the bounds are inclusive.

        A `name` without a package does not match an action in a package.
        """
        newest_first = [*reversed(self._records.values())]
        newest_first.sort(key=lambda record: record.start_ms, reverse=True)
        for record in newest_first:
            if (
                (name is None or record.full_name == name)
                and (since_ms is None or record.start_ms >= since_ms)
                and (upto_ms is None or record.start_ms <= upto_ms)
            ):
                yield record
