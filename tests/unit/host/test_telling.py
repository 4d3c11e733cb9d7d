"""Any exception is a sentence with the next step, and what is none is kept for whoever mends it."""

import errno
import json
import os
import zipfile

import pytest
import redis

from disdel.errors import DatasetError
from disdel.host import crashes
from disdel.host.telling import told


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), "make room, or name", 1),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/runs/x"), "make room, or name", 1),
        (OSError(errno.EROFS, "Read-only file system", "/runs/x"), "name another place", 2),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "name another place", 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "spelt", 2),
        (OSError(errno.EMFILE, "Too many open files", b"/x"), "ulimit -n", 1),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "shorter name", 2),
        (OSError("odd"), "odd", 1),
        (MemoryError(), "no memory left", 1),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply", 2),
        (ModuleNotFoundError("No module named 'dacite'"), "No module named 'dacite'", 2),
        (zipfile.BadZipFile("File is not a zip file"), "damaged, or of another kind", 2),
        (json.JSONDecodeError("Expecting value", "x", 0), "damaged, or of another kind", 2),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "damaged", 2),
        (redis.ConnectionError("Connection refused"), "a connection failed", 1),
        (DatasetError("no such data set"), "no such data set", 2),
        (ExceptionGroup("several", [OSError(errno.ENOSPC, "full", "/x")]), "make room", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_of_others_is_a_sentence(error, said, code):
    message, exit_code = told(error)
    assert said in message
    assert "\n" not in message
    assert exit_code == code
    if isinstance(error, OSError) and error.filename:
        assert os.fsdecode(error.filename) in message


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), TypeError("no"), ValueError()])
def test_a_fault_of_the_program_is_none_of_them(error):
    assert told(error) is None


def test_a_fault_is_kept_without_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DISDEL_REDIS", "redis://:pa55word@cache:6379")
    monkeypatch.setattr("sys.argv", ["disdel", "train", "--auth", "uuid:s3cret"])
    message, code = crashes.kept(KeyError("redis://:pa55word@cache:6379 uuid:s3cret pa55word"))
    assert code == 1
    [kept] = (tmp_path / "faults").iterdir()
    assert str(kept) in message
    text = kept.read_text()
    assert "KeyError" in text
    assert "disdel train --auth ***" in text
    for said in (message, text):
        assert "pa55word" not in said
        assert "s3cret" not in said
    assert kept.stat().st_mode & 0o077 == 0


def test_a_fault_is_told_where_nothing_can_be_written(monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", "/dev/null/state")
    monkeypatch.setattr(crashes.tempfile, "mkdtemp", _full)
    message, _ = crashes.kept(KeyError("x"))
    assert "please report it with what DISDEL_DEBUG=1 shows" in message


def _full(**_):
    raise OSError(errno.ENOSPC, "No space left on device")
