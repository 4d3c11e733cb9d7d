"""Temporary folders go, however their owner ends, and those of the living stay."""

import os
import subprocess
import sys
from pathlib import Path

from openwhisk_local.machine.scratch import Scratch, sweep

_OWN = """
import os, pathlib, sys
from openwhisk_local.machine.scratch import Scratch
own = Scratch(".own-", pathlib.Path(sys.argv[1]))
print("up", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


def test_the_folders_of_the_dead_are_swept(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _OWN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ) as owner:
        owner.stdout.readline()
        [folder] = tmp_path.iterdir()
        (tmp_path / ".own-new").mkdir()  # In the making.
        (tmp_path / ".other").mkdir()
        sweep(".own-", tmp_path)
        assert folder.exists()
        owner.communicate(b"\n")
    ended = []
    sweep(".own-", tmp_path, ended.append)
    assert ended == [folder]
    assert {path.name for path in tmp_path.iterdir()} == {".own-new", ".other"}
    os.utime(tmp_path / ".own-new", (0, 0))
    sweep(".own-", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".other"}


def test_a_folder_goes_with_its_owner(tmp_path):
    with Scratch(".own-", tmp_path) as folder:
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []
    sweep(".own-", tmp_path / "none")
