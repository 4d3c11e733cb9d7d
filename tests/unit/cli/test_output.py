from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from disdel.cli.output import write_json
from disdel.errors import UsageError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    target = tmp_path / "access.json"
    target.write_text("readable by everybody")
    target.chmod(0o644)
    with target.open() as reader:
        write_json(str(target), {"auth": "key"}, secret=True)
        # Whoever had the old file open has the old file.
        assert reader.read() == "readable by everybody"
    assert json.loads(target.read_text()) == {"auth": "key"}
    assert mode(target) == 0o600
    assert [*tmp_path.iterdir()] == [target]


def test_other_files_are_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(str(tmp_path / "report.json"), 1)
    finally:
        os.umask(before)
    assert mode(tmp_path / "report.json") == 0o640


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    write_json(str(link), 1, secret=True)
    assert link.is_symlink()
    assert json.loads(target.read_text()) == 1


def test_a_device_is_written_and_not_replaced() -> None:
    write_json("/dev/null", 1, secret=True)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["", "no/such/folder/x", "loop"])
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UsageError, match="cannot be written"):
        write_json(str(tmp_path / name), 1)


@pytest.mark.parametrize(
    "value",
    [{}, [], "x", 3, {"a": []}, {"a": {"b": [1, {"c": "x\ny"}], "é": None}, "d": [[1], []]}],
)
def test_json_is_what_the_library_writes(tmp_path: Path, value: object) -> None:
    write_json(str(tmp_path / "value"), value)
    assert (tmp_path / "value").read_text() == f"{json.dumps(value, indent=1)}\n"


@pytest.mark.parametrize("items", [[], [1, "x\ny"], [{"a": [1, 2]}, {"b": {}}, []]])
def test_what_an_object_has_of_iterators_are_lists(tmp_path: Path, items: list[object]) -> None:
    write_json(str(tmp_path / "value"), {"before": 1, "items": iter(items), "after": [2]})
    wanted = {"before": 1, "items": items, "after": [2]}
    assert (tmp_path / "value").read_text() == f"{json.dumps(wanted, indent=1)}\n"
