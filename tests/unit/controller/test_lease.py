"""One controller at a time drives a run, whoever starts at the same moment and wherever."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from disdel.controller.runs import lease as lease_module
from disdel.controller.runs.lease import LOCK_NAME, LeaseLost, RunTaken, claim, claimed, is_driven
from disdel.errors import UsageError

# Whoever has the run makes a file that must not be there, and removes it again.
_CONTEND = """
import os, pathlib, sys, time
from disdel.controller.runs.lease import RunTaken, claimed

folder, turns = pathlib.Path(sys.argv[1]), 0
print("up", flush=True)
sys.stdin.readline()
while turns < 20:
    try:
        with claimed(folder):
            os.close(os.open(folder / "alone", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "alone")
            turns += 1
    except RunTaken:
        pass
"""


def write_holder(folder, age_s=0.0, view=None, **process):
    """The lock's file as another controller has left it."""
    with claimed(folder):
        text = json.loads((folder / LOCK_NAME).read_text())
    text["process"] |= process
    text["process"]["view"] |= view or {}
    (folder / LOCK_NAME).write_text(json.dumps(text))
    touched_s = (folder / LOCK_NAME).stat().st_mtime - age_s
    os.utime(folder / LOCK_NAME, (touched_s, touched_s))


def test_of_many_at_once_one_has_the_run(tmp_path):
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", _CONTEND, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )
        for _ in range(4)
    ]
    for contender in contenders:
        contender.stdout.readline()
    for contender in contenders:
        contender.communicate(b"\n")
    assert [contender.returncode for contender in contenders] == [0] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_driven_says_by_whom(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 0.0)
    with claimed(tmp_path) as held:
        assert is_driven(tmp_path)
        with pytest.raises(RunTaken, match=rf"process {os.getpid()} on .*disdel stop"):
            claim(tmp_path)
        held.confirm()
    assert not is_driven(tmp_path)


def test_a_lease_ends_with_its_process_however_that_ends(tmp_path):
    kill = "import os, sys, pathlib; from disdel.controller.runs.lease import claim\n"
    kill += "claim(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    subprocess.run(
        [sys.executable, "-c", kill, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    assert (tmp_path / LOCK_NAME).exists()
    assert not is_driven(tmp_path)
    claim(tmp_path).release()


@pytest.mark.parametrize(
    ("age_s", "driven"), [(0, True), (lease_module.STALE_S + 1, False)], ids=["fresh", "stale"]
)
def test_whose_lock_is_not_seen_from_here_is_known_by_his_touch(
    tmp_path, monkeypatch, age_s, driven
):
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 0.0)
    write_holder(tmp_path, age_s, {"host": "elsewhere", "boot": "another"})
    assert is_driven(tmp_path) == driven
    if driven:
        with pytest.raises(RunTaken):
            claim(tmp_path)
    else:
        claim(tmp_path).release()


def test_a_process_id_that_is_used_again_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_lock", lambda *_: "none")
    write_holder(tmp_path, start_ticks=1)
    assert not is_driven(tmp_path)


def test_a_controller_from_before_the_last_boot_is_dead(tmp_path):
    write_holder(tmp_path, 0, {"boot": "an earlier one"}, created=1.0)
    assert not is_driven(tmp_path)
    claim(tmp_path).release()


def test_who_was_thought_dead_writes_no_more(tmp_path):
    with claimed(tmp_path) as before:
        write_holder_over(tmp_path)
        assert not before.is_held
        with pytest.raises(LeaseLost, match=r"process 77 on .* drives it now"):
            before.confirm()
    # What is there now is the other's.
    assert (tmp_path / LOCK_NAME).exists()


def write_holder_over(folder):
    text = json.loads((folder / LOCK_NAME).read_text())
    text |= {"token": "other", "process": text["process"] | {"pid": 77}}
    (folder / LOCK_NAME).write_text(json.dumps(text))


def test_a_folder_that_was_removed_under_its_controller(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with claimed(folder) as held:
        (folder / LOCK_NAME).unlink()
        folder.rmdir()
        held.confirm()  # Nobody else has it: what it comes to can be kept elsewhere.


def test_where_there_are_no_locks_names_decide(tmp_path, monkeypatch):
    def none(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(lease_module, "_SETTLE_S", 0.01)
    with claimed(tmp_path):
        assert is_driven(tmp_path)
        with pytest.raises(RunTaken):
            claim(tmp_path)
    write_holder(tmp_path, start_ticks=1)
    claim(tmp_path).release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\x00", b'{"process": 1}', b"[" * 100_000])
def test_a_damaged_lock_file_is_none(tmp_path, text):
    (tmp_path / LOCK_NAME).write_bytes(text)
    assert not is_driven(tmp_path)
    claim(tmp_path).release()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be driven: .*controller\.lock cannot be written"):
        claim(tmp_path / "none")
