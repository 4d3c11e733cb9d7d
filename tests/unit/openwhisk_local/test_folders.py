from __future__ import annotations

import os
import sys
from pathlib import Path

from openwhisk_local.containers.folders import remove_folder


def test_a_folder_deeper_than_calls_may_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(300):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        remove_folder(folder)
    finally:
        sys.setrecursionlimit(limit)
    assert not folder.exists()


def test_folders_that_were_closed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    closed = tmp_path / "folder" / "closed" / "inner"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    (closed / "link").symlink_to(kept)
    for folder in (closed, closed.parent):
        folder.chmod(0)
    remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert kept.read_text() == "x"
