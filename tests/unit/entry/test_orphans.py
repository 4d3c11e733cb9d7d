"""Workers of a pool whose program was killed."""

import contextlib
import os
import signal
import subprocess
import sys

import psutil

from tests.support.processes import has_ended
from tests.support.waiting import wait_until

POOL = """
import json, multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from disdel.entry.executor_call import run


def call(_):
    run(json.dumps({"disdel": 1, "do": "hello"}))
    return os.getpid()


if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    called = set()
    # The first one that is there may do what was meant for both.
    while len(called) < 2:
        called |= set(pool.map(call, range(2)))
    print(*called, flush=True)
    time.sleep(600)
"""


def test_they_end_with_it(tmp_path):
    program = tmp_path / "pool.py"
    program.write_text(POOL)
    process = subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    workers = []
    try:
        workers = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
        assert workers
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: all(map(has_ended, workers)))
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
        for worker in workers:
            with contextlib.suppress(psutil.Error, OSError):
                worker.kill()
