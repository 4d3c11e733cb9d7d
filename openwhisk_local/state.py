"""What outlives a platform: its key, its entities and its activation records, in one folder.

They are kept in an SQLite database, which changes as a whole or not at all, whenever the platform
ends. One platform at a time may have it open.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import dacite

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import Code
from openwhisk_local.entities.names import NAMESPACE
from openwhisk_local.entities.packages import Package
from openwhisk_local.entities.room import Entity
from openwhisk_local.entities.rules import Rule, Trigger
from openwhisk_local.errors import StateError
from openwhisk_local.invoking.activations import Record

FILE_NAME = "platform.sqlite"

_KINDS: dict[str, type[Entity]] = {
    kind.__name__.lower(): kind for kind in (Package, Action, Trigger, Rule)
}


def _as_code(written: Any) -> Any:
    """Code as it was written down; what else there is as it is."""
    return Code.of(**written) if isinstance(written, dict) and "code" in written else written


# JSON has no tuples.
_DACITE = dacite.Config(cast=[tuple], strict=True, type_hooks={Code: _as_code})
# `place` orders entities by their last change, as lists show them, and records by their end.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entities (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, body TEXT NOT NULL);
"""

T = TypeVar("T")


class State:
    """The open database; keeps what it is told at once."""

    def __init__(self, folder: Path) -> None:
        """Open the database of a folder, or make it.

        Raises:
            StateError: it is damaged, or another platform has it open.
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        # It holds the key, so only its owner may read it.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        try:
            self._open()
        except sqlite3.OperationalError as error:
            self._database.close()
            raise StateError(
                f"the state in {folder} is in use by another platform ({error}): stop that one "
                "first, or choose another folder"
            ) from error
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise self._damaged(str(error)) from error

    def _open(self) -> None:
        # The first write takes the lock, which is then held until the end.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._database.execute("INSERT OR REPLACE INTO facts VALUES ('version', '1')")
        [[found]] = self._database.execute("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def close(self) -> None:
        self._database.close()

    def key(self, new: str, namespace: str = NAMESPACE) -> str:
        """The key of a namespace; `new` becomes it if there is none yet."""
        fact = "key" if namespace == NAMESPACE else f"key of {namespace}"
        self._database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", [fact, new])
        [[key]] = self._database.execute("SELECT value FROM facts WHERE name = ?", [fact])
        return str(key)

    def entities(self) -> list[Entity]:
        """All entities, newest last; raises `StateError` for what cannot be read."""
        found: list[Entity] = []
        rows = self._database.execute("SELECT id, kind, body FROM entities ORDER BY place")
        for row_id, kind, body in rows:
            if kind not in _KINDS:
                raise self._damaged(f"{row_id} is of an unknown kind, {kind}")
            found.append(self._read(row_id, _KINDS[kind], body))
        return found

    def records(self) -> Iterator[Record]:
        """All records, the first to end first; raises `StateError` for what cannot be read."""
        for row_id, body in self._database.execute("SELECT id, body FROM records ORDER BY place"):
            yield self._read(row_id, Record, body)

    def keep(self, entity: Entity, *, newest: bool) -> None:
        """Write an entity down, at the place that it has or behind all others."""
        kind = type(entity).__name__.lower()
        place = (
            "(SELECT COALESCE(MAX(place), 0) + 1 FROM entities)"
            if newest
            else "(SELECT place FROM entities WHERE id = :id)"
        )
        self._database.execute(
            f"INSERT OR REPLACE INTO entities VALUES (:id, {place}, :kind, :body)",
            {"id": entity.id.path, "kind": kind, "body": _dump(entity)},
        )

    def forget(self, entity: Entity) -> None:
        self._database.execute("DELETE FROM entities WHERE id = ?", [entity.id.path])

    def keep_record(self, record: Record) -> None:
        place = "(SELECT COALESCE(MAX(place), 0) + 1 FROM records)"
        self._database.execute(
            f"INSERT OR REPLACE INTO records VALUES (?, {place}, ?)", [record.id, _dump(record)]
        )

    def forget_record(self, record_id: str) -> None:
        self._database.execute("DELETE FROM records WHERE id = ?", [record_id])

    def _read(self, row_id: str, kind: type[T], body: str) -> T:
        try:
            return dacite.from_dict(kind, json.loads(body), _DACITE)
        except (dacite.DaciteError, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(f"{row_id}: {error}") from error

    def _damaged(self, why: str) -> StateError:
        return StateError(
            f"the state in {self._path} is damaged ({why}): move the file away to start without it"
        )


def _dump(value: Any) -> str:
    return json.dumps(value, default=_fields_of)


def _fields_of(value: Any) -> dict[str, Any]:
    if isinstance(value, Code):
        # Its text, wherever it is held.
        names = signature(Code.of).parameters
        return {name: getattr(value, name) for name in names}
    return {field.name: getattr(value, field.name) for field in fields(value)}
