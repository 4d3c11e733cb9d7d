"""Functions behind URLs of this machine, served by the platforms' own Python servers."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass

import httpx
import psutil

from disdel.controller.invoking.exporting import export
from disdel.platforms.exported import Limits
from disdel.runtimes.registry import TORCH
from tests.support import local_http
from tests.support.environments import python_of
from tests.support.ports import free_port
from tests.support.processes import has_ended, seen
from tests.support.waiting import wait_until

LIMITS = Limits(memory_mb=1024, timeout_s=120, instances=1)
SERVERS = ("functions-framework", "func-python")


@dataclass
class Served:
    """An instance: its address and its process."""

    url: str
    process: subprocess.Popen

    def children(self):
        """The processes of actions there."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        commands = seen(family, lambda child: (child, child.cmdline()))
        return [
            child
            for child, command in commands
            if any(part.endswith("entry/container.py") for part in command)
        ]


@contextlib.contextmanager
def served(server, folder, *, runtime=TORCH, **environment):
    """An instance of what is exported to `folder`, where it is not yet."""
    port, python = free_port(), python_of(server)
    if server == "functions-framework":
        export("functions-framework", folder, runtime, LIMITS)
        command = [python.with_name("functions-framework"), "--target=disdel_function"]
        command += ["--host=127.0.0.1", f"--port={port}"]
    else:
        export("knative", folder, runtime, LIMITS)
        # What `func` puts around a function.
        main = "from func_python.http import serve; from function import new; serve(new)"
        command = [python, "-c", main]
    variables = {**os.environ, "LISTEN_ADDRESS": f"127.0.0.1:{port}", "PYTHONPATH": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables | environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_until(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None, (folder / "log").read_text()
        yield Served(url, process)
    finally:
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait()
        wait_until(lambda: all(map(has_ended, family)))


def _answers(url):
    with contextlib.suppress(httpx.TransportError):
        return local_http.post(url, json={"disdel": 1, "do": "hello"}).is_success
    return False
