"""What a kept result depends on: the files that were read for it, and what the code names."""

import json
import multiprocessing
import os
import socket
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from disdel.user_code.files_read import FilesRead, named_environment, still_holds


def note(read, *, source=b"", folders=()):
    watch = FilesRead()
    with watch.watched():
        read()
    return json.loads(json.dumps(watch.note([source], folders)))


def rewrite(path, content):
    """Other content of the same size, with the times that the file had."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def fork_and_read(path):
    process = multiprocessing.get_context("fork").Process(target=path.read_bytes)
    process.start()
    process.join()


@pytest.mark.parametrize(
    "read",
    [
        lambda path: path.read_bytes(),
        lambda path: os.close(os.open(path, os.O_RDONLY)),
        lambda path: np.memmap(path),
        lambda path: sqlite3.connect(path).close(),
        fork_and_read,
    ],
)
def test_a_changed_file_is_seen_however_it_was_read(tmp_path, read):
    path = tmp_path / "data"
    path.write_bytes(b"one")
    known = note(lambda: read(path))
    assert still_holds(known)
    path.touch()
    assert still_holds(known)
    rewrite(path, b"two")
    assert not still_holds(known)
    path.unlink()
    assert not still_holds(known)


@pytest.mark.parametrize("lists", [Path.iterdir, os.scandir, lambda folder: folder.glob("*.png")])
def test_a_folder_that_was_listed_counts_by_its_names(tmp_path, lists):
    (tmp_path / "one.png").touch()
    known = note(lambda: list(lists(tmp_path)))
    assert still_holds(known)
    (tmp_path / "other").touch()
    (tmp_path / "other").unlink()
    assert still_holds(known)
    (tmp_path / "two.png").touch()
    assert not still_holds(known)


def test_files_that_were_not_there_or_only_written_count_by_that(tmp_path):
    def read():
        with pytest.raises(FileNotFoundError):
            (tmp_path / "missing").read_bytes()
        (tmp_path / "written").write_text("a")

    known = note(read)
    (tmp_path / "written").write_text("b")
    assert still_holds(known)
    (tmp_path / "missing").touch()
    assert not still_holds(known)


def test_what_the_code_names_counts_though_python_opens_it_not(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    for path in (tmp_path / "a.h5", tmp_path / "set" / "part0.h5"):
        path.write_text("1")
        source = f"h5('a.h5') + h5(f'{tmp_path}/set/part{{n}}.h5')".encode()
        known = note(lambda: None, source=source + b", 'set'", folders=(tmp_path,))
        with path.open("a") as file:
            file.write("2")
        assert not still_holds(known)


def test_what_another_host_has_answered_is_asked_again():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not still_holds(note(lambda: socket.create_connection(server.getsockname()).close()))
    assert still_holds(note(lambda: None))
    assert not still_holds({"files": {"x": 3}, "is_complete": True})
    assert not still_holds(None)


def test_the_environment_that_code_names(monkeypatch):
    monkeypatch.setenv("MY_SET", "a")
    monkeypatch.delenv("NO_SET", raising=False)
    found = named_environment([b"import os; os.environ['MY_SET'], os.getenv('NO_SET'), 'other'"])
    assert found == {"MY_SET": "a", "NO_SET": None, "HOME": str(Path.home())}
