"""Which pages a template has written to, by what /proc/PID/pagemap says of them."""

from __future__ import annotations

import array
import mmap
import os
from pathlib import Path

import pytest

from openwhisk_local.containers.container_forks import _written

PRESENT, SWAPPED, OF_A_FILE, SOFT_DIRTY = 1 << 63, 1 << 62, 1 << 61, 1 << 55
STATES = {
    "w": PRESENT | 0xABCDEF,
    "d": PRESENT | SOFT_DIRTY,
    "f": PRESENT | OF_A_FILE,
    "s": SWAPPED | OF_A_FILE,
    "-": 0,
}


@pytest.mark.parametrize(
    ("pages", "runs"),
    [
        ("", []),
        ("-----", []),
        ("ffss-", []),
        ("w", [(0, 1)]),
        ("wdw", [(0, 3)]),
        ("--wf", [(2, 1)]),
        # So few between them are copied along; one more is a run of its own.
        ("w-fs-w", [(0, 6)]),
        ("w-----w", [(0, 1), (6, 1)]),
        ("-ww--w-----dd----w-", [(1, 5), (11, 7)]),
    ],
)
def test_runs_of_written_pages(tmp_path: Path, pages: str, runs: list[tuple[int, int]]) -> None:
    # The mapping begins at the third page, and others follow.
    entries = array.array("Q", [STATES[page] for page in f"ww{pages}ww"])
    (tmp_path / "pagemap").write_bytes(entries.tobytes())
    size = mmap.PAGESIZE
    pagemap = os.open(tmp_path / "pagemap", os.O_RDONLY)
    try:
        found = _written(pagemap, 2 * size, (2 + len(pages)) * size, mmap.PROT_READ)
    finally:
        os.close(pagemap)
    assert [(one.start // size - 2, one.length // size) for one in found] == runs
    assert all(one.protection == mmap.PROT_READ for one in found)
