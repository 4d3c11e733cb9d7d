"""Whose remains may be removed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from openwhisk_local.machine.process_identity import ProcessIdentity, own_identity, own_view
from openwhisk_local.platform import sweep
from openwhisk_local.records import PlatformRecord, is_dead, read_records, write_record

OWN = own_identity()
DEAD = replace(OWN, pid=2**22 + 1)


def record_of(process: ProcessIdentity, folder: Path) -> PlatformRecord:
    folder.mkdir()
    return PlatformRecord(
        id="0123456789ab",
        process=process,
        apihost="http://127.0.0.1:1",
        auth="a:b",
        port=1,
        enforcement="sampling",
        isolation="process groups",
        limits="roomy",
        user_memory_mb=1,
        shared=True,
        cgroups=(),
        folder=str(folder),
        log=None,
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = record_of(OWN, tmp_path / "f")
    os.close(write_record(tmp_path, record))
    assert [*read_records(tmp_path)] == [record]
    [path] = (tmp_path / "platforms").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": 1}', "[" * 100, "null"])
def test_what_is_no_record_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "platforms").mkdir()
    (tmp_path / "platforms" / "x.json").write_text(text)
    assert [*read_records(tmp_path)] == []


@pytest.mark.parametrize(
    ("changed", "locked", "swept"),
    [
        ({}, False, True),
        # Its number says nothing here, its lock does.
        ({"pid_namespace": "pid:[1]"}, True, False),
        ({"pid_namespace": "pid:[1]"}, False, True),
        ({"boot": "another"}, True, False),
        ({"boot": "another"}, False, True),
        ({"boot": "another", "host": "elsewhere"}, False, False),
    ],
)
def test_only_what_is_dead_beyond_doubt_is_swept(
    tmp_path: Path, changed: dict[str, str], locked: bool, swept: bool
) -> None:
    process = replace(DEAD, view=replace(own_view(), **changed), created=1.0)
    record = record_of(process, tmp_path / "f")
    lock = write_record(tmp_path, record)
    try:
        if not locked:
            os.close(lock)
        assert is_dead(tmp_path, record) is swept
        sweep(tmp_path)
        assert Path(record.folder).exists() is not swept
        assert [*read_records(tmp_path)] == ([] if swept else [record])
    finally:
        if locked:
            os.close(lock)
