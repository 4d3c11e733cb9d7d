"""What a platform's folder keeps of actions, whose code may be on disk meanwhile."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from openwhisk_local.entities.actions import Action, put_action, read_action_put
from openwhisk_local.entities.names import Name
from openwhisk_local.limits import platform_limits
from openwhisk_local.state import FILE_NAME, State

EXECS: list[dict[str, Any]] = [
    {"kind": "python:3", "code": "def main(args): return args", "main": "other"},
    {"kind": "python:3", "code": "# " + "x" * (2 << 20)},
    {"kind": "blackbox", "image": "disdel/runtime-torch"},
    {"kind": "blackbox", "image": "disdel/runtime-torch", "code": "def main(args): return args"},
    {"kind": "sequence", "components": ["/_/p/b", "/_/p/c"]},
]


def made(executed: dict[str, Any]) -> Action:
    put = read_action_put({"exec": executed})
    return put_action(Name("p", "a"), put, None, platform_limits("roomy"), now_ms=1)


@pytest.mark.parametrize("executed", EXECS, ids=lambda executed: executed["kind"])
def test_an_action_is_read_as_it_was_kept(tmp_path: Path, executed: dict[str, Any]) -> None:
    action = made(executed)
    state = State(tmp_path)
    state.keep(action, newest=True)
    state.close()
    again = State(tmp_path)
    [found] = again.entities()
    again.close()
    assert isinstance(found, Action)
    assert found.to_wire() == action.to_wire()


def test_an_action_that_was_kept_before_code_was_on_disk(tmp_path: Path) -> None:
    """The rows of a database are those of any version."""
    action = made(EXECS[0])
    state = State(tmp_path)
    state.keep(action, newest=True)
    state.close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    [[body]] = database.execute("SELECT body FROM entities").fetchall()
    database.close()
    assert json.loads(body)["exec"] == {
        "kind": EXECS[0]["kind"],
        "code": EXECS[0]["code"],
        "main": "other",
        "image": None,
    }
