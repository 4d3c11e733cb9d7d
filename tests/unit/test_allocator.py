"""Memory that a training step frees and takes again."""

import platform
import resource
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource
from openwhisk_local.machine.allocator import give_back_freed_memory, keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
keep_freed_memory()

def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = libc.malloc(ctypes.c_size_t(8 << 20))
        ctypes.memset(block, 1, 8 << 20)
        libc.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of_steps()
print(faults_of_steps())
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
held = resident()
give_back_freed_memory()
print(held - resident())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only of glibc can it be asked",
)
def test_a_step_takes_the_memory_that_the_last_one_freed_until_it_is_given_back():
    told = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    faults, given_back = map(int, told.stdout.split())
    assert faults < (8 << 20) // resource.getpagesize()
    assert given_back > 7 << 20
