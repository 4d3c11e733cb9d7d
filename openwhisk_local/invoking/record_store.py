"""Where activation records are kept: as many, and as many bytes of them, as the platform is told.

A record is kept as the JSON text that requests for it are answered with, so that it costs what it
is long, whatever an action's result is made of.
"""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from openwhisk_local.entities.fields import compact_json
from openwhisk_local.invoking.activations import Record
from openwhisk_local.limits import MAX_RECORDS, MAX_RECORDS_MB, RECORD_OVERHEAD_BYTES
from openwhisk_local.replies import NO_RESOURCE, ApiError
from openwhisk_local.units import MIB


class RecordJournal(Protocol):
    """Something that keeps records beyond the life of the platform."""

    def keep_record(self, record: Record) -> None: ...
    def forget_record(self, record_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """How many records are kept, and of how many MB together; beyond that the oldest go."""

    count: int = MAX_RECORDS
    size_mb: int = MAX_RECORDS_MB


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as JSON texts: `summary` is for lists, `head` has all but `response` and `logs`."""

    id: str
    start_ms: int
    filter_name: str
    summary: bytes
    head: bytes
    response: bytes
    logs: bytes

    @property
    def whole(self) -> bytes:
        return b'%b,"response":%b,"logs":%b}' % (self.head[:-1], self.response, self.logs)

    @property
    def cost_bytes(self) -> int:
        texts = (self.summary, self.head, self.response, self.logs)
        return RECORD_OVERHEAD_BYTES + sum(len(text) for text in texts)


class RecordStore:
    """The records of this platform; `on_put` is told of every new one."""

    def __init__(
        self,
        limits: RecordLimits,
        journal: RecordJournal | None = None,
        records: Iterable[Record] = (),
        on_put: Callable[[Record], None] = lambda _: None,
    ) -> None:
        self._on_put = on_put
        self._limits = limits
        self._journal = journal
        # By their end, the first to end first.
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        # By their start, with a number that tells those of one millisecond apart.
        self._order: list[tuple[int, int, str]] = []
        self._numbers = itertools.count()
        self._size_bytes = 0
        # The journal may not change while it is read.
        dropped = [record_id for record in records for record_id in self._add(record)]
        self._forget(dropped)

    def put(self, record: Record) -> None:
        dropped = self._add(record)
        self._on_put(record)
        if self._journal:
            self._journal.keep_record(record)
        self._forget(dropped)

    def _add(self, record: Record) -> list[str]:
        """Keep a record, and return the ids of those that had to go for it."""
        kept = _texts(record)
        self._kept[record.id] = kept
        self._size_bytes += kept.cost_bytes
        bisect.insort(self._order, (record.start_ms, next(self._numbers), record.id))
        dropped = []
        while len(self._kept) > 1 and self._is_over():
            dropped.append(self._drop_oldest())
        return dropped

    def _is_over(self) -> bool:
        limits = self._limits
        return len(self._kept) > limits.count or self._size_bytes > limits.size_mb * MIB

    def _drop_oldest(self) -> str:
        record_id, dropped = self._kept.popitem(last=False)
        self._size_bytes -= dropped.cost_bytes
        at = bisect.bisect_left(self._order, (dropped.start_ms,))
        while self._order[at][2] != record_id:
            at += 1
        del self._order[at]
        return record_id

    def _forget(self, record_ids: list[str]) -> None:
        if self._journal:
            for record_id in record_ids:
                self._journal.forget_record(record_id)

    def get(self, activation_id: str) -> Kept:
        """The record; raises `ApiError` 404 until the activation has finished."""
        kept = self._kept.get(activation_id)
        if kept is None:
            raise ApiError(404, NO_RESOURCE)
        return kept

    def select(
        self, *, name: str | None, since_ms: int | None, upto_ms: int | None
    ) -> Sequence[Kept]:
        """Records by start, newest first; the bounds are inclusive.

        A `name` without a package does not match an action in a package.
        """
        low = 0 if since_ms is None else bisect.bisect_left(self._order, (since_ms,))
        high = len(self._order)
        if upto_ms is not None:
            high = bisect.bisect_left(self._order, (upto_ms + 1,))
        found = [self._kept[record_id] for _, _, record_id in reversed(self._order[low:high])]
        return [kept for kept in found if name is None or kept.filter_name == name]


def _texts(record: Record) -> Kept:
    return Kept(
        id=record.id,
        start_ms=record.start_ms,
        filter_name=record.filter_name,
        summary=compact_json(record.summary()),
        head=compact_json(record.head_to_wire()),
        response=compact_json(record.response.to_wire()),
        logs=compact_json(record.logs),
    )
