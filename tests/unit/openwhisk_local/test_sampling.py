from __future__ import annotations

import os
from pathlib import Path

import pytest

from openwhisk_local.containers.isolation import SamplingCell, SamplingEnforcement


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_a_limit_is_raised_whatever_an_action_has_put_there(tmp_path: Path, put) -> None:
    # Making an enforcement would make this process the parent of orphans.
    cell = SamplingCell(object.__new__(SamplingEnforcement), "a-1", 1 << 20, tmp_path)
    put(tmp_path / "memory-limit.new")
    cell.raise_limit(1 << 21)
    assert (tmp_path / "memory-limit").read_text() == str(1 << 21)
    assert not (tmp_path / "elsewhere").exists()
