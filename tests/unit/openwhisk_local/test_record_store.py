from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from openwhisk_local.invoking.activations import SUCCESS, Record, Response
from openwhisk_local.invoking.record_store import RecordLimits, RecordStore
from openwhisk_local.replies import ApiError


def record(number: int, *, start_ms: int | None = None, **fields: Any) -> Record:
    wire = {
        "id": f"{number:032x}",
        "name": "a",
        "version": "0.0.1",
        "start_ms": number if start_ms is None else start_ms,
        "end_ms": number + 1,
        "duration_ms": 1,
        "response": Response(SUCCESS, {}, 2),
        "annotations": {"path": "guest/a"},
    }
    return Record(**{**wire, **fields})


class Journal:
    def __init__(self) -> None:
        self.kept: dict[str, Record] = {}

    def keep_record(self, record: Record) -> None:
        self.kept[record.id] = record

    def forget_record(self, record_id: str) -> None:
        del self.kept[record_id]


def numbers(store: RecordStore, **bounds: Any) -> list[int]:
    wanted = {"name": None, "since_ms": None, "upto_ms": None, **bounds}
    return [int(kept.id, 16) for kept in store.select(**wanted)]


def test_the_newest_are_kept() -> None:
    journal = Journal()
    store = RecordStore(RecordLimits(count=3), journal)
    for number in range(5):
        store.put(record(number))
    assert numbers(store) == [4, 3, 2]
    assert [int(key, 16) for key in journal.kept] == [2, 3, 4]
    with pytest.raises(ApiError):
        store.get(record(0).id)


def test_bytes_count_as_well() -> None:
    store = RecordStore(RecordLimits(size_mb=3))
    for number in range(9):
        store.put(record(number, logs=("x" * (1 << 20),)))
    assert numbers(store) == [8, 7]
    # One that is more than all may be is there until the next one ends.
    store.put(record(9, logs=("x" * (4 << 20),)))
    assert numbers(store) == [9]


def test_a_smaller_bound_than_before_drops_what_was_kept() -> None:
    journal = Journal()
    for number in range(5):
        journal.keep_record(record(number))
    store = RecordStore(RecordLimits(count=2), journal, [*journal.kept.values()])
    assert numbers(store) == [4, 3]
    assert len(journal.kept) == 2


def test_records_are_listed_by_their_start() -> None:
    store = RecordStore(RecordLimits(count=4))
    for number, start_ms in enumerate((50, 10, 30, 10, 20)):
        store.put(record(number, start_ms=start_ms, name="b" if number == 4 else "a"))
    assert numbers(store) == [2, 4, 3, 1]
    assert numbers(store, since_ms=20) == [2, 4]
    assert numbers(store, upto_ms=20) == [4, 3, 1]
    assert numbers(store, since_ms=10, upto_ms=10) == [3, 1]
    assert numbers(store, name="b") == [4]


def test_a_record_costs_what_it_is_long() -> None:
    """Not what its result is made of: arrays in an array are 25 times their text."""
    store = RecordStore(RecordLimits())
    text = "[" + ",".join(["[]"] * 30_000) + "]"
    tracemalloc.start()
    for number in range(5):
        store.put(record(number, response=Response(SUCCESS, json.loads(text), len(text))))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 2 * 5 * len(text)


def test_the_texts_are_those_of_the_record() -> None:
    store = RecordStore(RecordLimits())
    shown = record(1, logs=("one", "zwei \udcff ä"), response=Response(SUCCESS, {"é": "\ud800"}))
    store.put(shown)
    kept = store.get(shown.id)
    whole = json.loads(kept.whole)
    assert whole == json.loads(
        json.dumps(shown.to_wire()).replace("\\ud800", "?").replace("\\udcff", "?")
    )
    assert json.loads(kept.response) == whole["response"]
    assert json.loads(kept.logs) == whole["logs"]
    assert json.loads(kept.summary) == shown.summary()
