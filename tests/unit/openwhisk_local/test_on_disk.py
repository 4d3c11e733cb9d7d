import errno
import gc
import os
import tempfile
from pathlib import Path

import pytest

from openwhisk_local.machine.on_disk import OnDisk


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("size", [0, 3, (3 << 20) + 1])
def test_what_is_kept_is_read_again(size):
    data = os.urandom(size)
    kept = OnDisk(data)
    assert (kept.size, kept.read(), kept.read()) == (size, data, data)


def test_its_file_has_no_name_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = descriptors()
    kept = OnDisk(bytes(2 << 20))
    assert (descriptors(), list(tmp_path.iterdir())) == (before + 1, [])
    del kept
    gc.collect()
    assert descriptors() == before


def test_where_there_is_no_room_it_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    data = os.urandom(2 << 20)
    assert OnDisk(data).read() == data


def test_many_leave_descriptors_for_others(monkeypatch):
    monkeypatch.setattr(OnDisk, "_MOST", len(OnDisk._open) + 2)
    before = descriptors()
    data = [os.urandom(1 << 20) for _ in range(4)]
    kept = [OnDisk(each) for each in data]
    assert descriptors() == before + 2
    assert [each.read() for each in kept] == data
    del kept
    gc.collect()
    again = OnDisk(data[0])
    assert (descriptors(), again.read()) == (before + 1, data[0])


def test_a_file_that_the_disk_has_no_room_for_is_closed(monkeypatch):
    before = descriptors()

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        kept = OnDisk(bytes(2 << 20))
    assert descriptors() == before
    assert kept.read() == bytes(2 << 20)
