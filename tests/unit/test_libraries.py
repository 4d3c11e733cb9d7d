"""Pages of libraries that are given back."""

import subprocess
import sys

import pytest

from openwhisk_local.machine.libraries import _unchanged, load_library

MAPPED = """\
7f00000000-7f00001000 r--p 00000000 08:01 123   {file}
Rss:                   4 kB
Anonymous:             {anonymous} kB
Swap:                  {swapped} kB
VmFlags: rd mr mw me sd
7f00001000-7f00003000 {access} 00001000 08:01 123   {file}
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd
"""
FIRST, SECOND = (0x7F00000000, 0x7F00001000), (0x7F00001000, 0x7F00003000)


@pytest.mark.parametrize(
    ("changed", "given_back"),
    [
        ({}, [FIRST, SECOND]),
        ({"anonymous": 4}, [SECOND]),  # What the linker has relocated.
        ({"swapped": 4}, [SECOND]),  # The same, swapped out.
        ({"access": "rw-p"}, [FIRST]),
        ({"file": "/data/a.soft/samples.npy"}, []),
        ({"file": "[vdso]"}, []),
        ({"file": ""}, []),
    ],
)
def test_only_pages_that_are_in_a_library_s_file_are_given_back(changed, given_back):
    about = {"file": "/lib/libone.so.2", "anonymous": 0, "swapped": 0, "access": "r-xp"}
    assert list(_unchanged(MAPPED.format_map({**about, **changed}))) == given_back


USED = r"""
import re
import numpy as np
from openwhisk_local.machine.libraries import give_back_library_pages

def mapped_kib():
    return int(re.search(r"RssFile:\s+(\d+)", open("/proc/self/status").read())[1])

def product():
    return (np.ones((64, 32), np.float32) @ np.ones((32, 16), np.float32)).sum()

product()
before = mapped_kib()
give_back_library_pages()
after = mapped_kib()
print(before - after, product())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked for it")
def test_what_is_used_afterwards_works_as_before():
    told = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=True)
    given_back_kib, total = told.stdout.split()
    assert int(given_back_kib) > 1 << 10
    assert float(total) == 64 * 32 * 16


@pytest.mark.parametrize(
    ("package", "name"), [("no_such_package", "one.so"), ("numpy", "no_such.so"), ("json", "a.so")]
)
def test_a_library_that_is_not_there_is_not_loaded(package, name):
    load_library(package, name)
