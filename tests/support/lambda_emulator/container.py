"""A container of a function: the emulator, and behind it the function's process."""

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass

import psutil

from openwhisk_local.containers.cgroups import enter
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

MIB = 1 << 20
_START = re.compile(r"^START RequestId: ([0-9a-f-]{36})", re.MULTILINE)
_REPORT = re.compile(r"^REPORT RequestId: .*?\tDuration: ([0-9.]+) ms.*$", re.MULTILINE)
_INIT = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")
# What the emulator says of itself.
_OWN = re.compile(r"^([\w ]+ [\d:,]+ \[\w+\] \(rapid\) .*|END RequestId.*)\n?", re.MULTILINE)
_INVOKED = b"INVOKE START(requestId"
_LOOK_S = 0.02


@dataclass(frozen=True)
class Invoked:
    """What came of one request.

    `crashed` is whether the function's process has ended.
    """

    id: str
    status: int
    body: bytes
    log: str
    crashed: bool


class Container:
    """One emulator; the function's process starts with the first request.

    Args:
        programs: the emulator, and a Python with AWS's runtime client.
        function: its settings, as they were created.
        task: the folder of its code, or what an image has there.
        folder: its own.
        cell: its memory cgroup; None where there are none, and its memory is looked at.
        image: what it is of, where that is no zip.
    """

    def __init__(self, programs, function, task, folder, cell, image=None):
        self._function = function
        self._cell = cell
        self._log = folder / "log"
        self._seen = 0
        self._peak_bytes = 0
        self._ended = threading.Event()
        (folder / "tmp").mkdir(parents=True)
        emulator, python = programs
        self._port, api = free_ports(2)
        handler = image.handler if image else function["Handler"]
        runtime = shlex.join([str(python), "-m", "awslambdaric", handler])
        inside = f"{enter(cell.procs if cell else ())} && exec {runtime}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(str(emulator), "--log-level", "info"),
                    *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
                    *("--runtime-api-address", f"127.0.0.1:{api}"),
                    *("/bin/sh", "-c", inside),
                ],
                cwd=task,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**(image.environment if image else {}), **self._environment(task, folder)},
            )
        if cell is None:
            threading.Thread(target=self._sample, daemon=True).start()
        wait_until(self._answers)

    def _environment(self, task, folder):
        function = self._function
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "LAMBDA_TASK_ROOT": str(task),
            "AWS_LAMBDA_FUNCTION_NAME": function["FunctionName"],
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function["Timeout"]),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            **function.get("Environment", {}).get("Variables", {}),
            # Its own, as each container of Lambda's has.
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder / "tmp"),
        }

    def _answers(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True

    def invoke(self, event, *, kills=False):
        """What the function answers, or the emulator for it.

        With `kills`, its process is killed in the midst of it, as by a machine that fails.
        """
        if kills:
            # Where it is there already, it would otherwise be faster than who kills it.
            self._signal(signal.SIGSTOP)
            threading.Thread(target=self._kill_when_invoked, daemon=True).start()
        patience_s = self._function["Timeout"] + 60
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience_s)
        path = "/2015-03-31/functions/function/invocations"
        connection.request("POST", path, event, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        status, body = reply.status, reply.read()
        connection.close()
        crashed = status != 200 or body.startswith(b"Task timed out after")
        return self._invoked(status, body, crashed)

    def _invoked(self, status, body, crashed):
        def told():
            text = self._log.read_bytes()[self._seen :].decode(errors="replace")
            return text if crashed or _REPORT.search(text) else None

        text = wait_until(told)
        self._seen += len(text.encode())
        [request_id, *_] = _START.findall(text)
        init = _INIT.findall(text)
        ran = [float(duration) for duration in _REPORT.findall(text)]
        init_ms = float(init[0]) if init else 0.0
        duration_ms = max(0.0, (ran[-1] if ran else 0.0) - init_ms)
        lines = _REPORT.sub("", _OWN.sub("", text)).rstrip("\n")
        memory_mb = self._function["MemorySize"]
        used_mb = min(memory_mb, -(-self._used_bytes() // MIB))
        report = (
            f"END RequestId: {request_id}\n"
            f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
            f"Billed Duration: {duration_ms + init_ms:.0f} ms\tMemory Size: {memory_mb} MB\t"
            f"Max Memory Used: {used_mb} MB\t"
        )
        if init:
            report += f"Init Duration: {init_ms:.2f} ms\t"
        return Invoked(request_id, status, body, f"{lines}\n{report}\n", crashed)

    def _used_bytes(self):
        if self._cell is None:
            return self._peak_bytes
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            with contextlib.suppress(OSError):
                return int((self._cell.cgroup.folder / name).read_text())
        return 0

    def _sample(self):
        """Kill what holds more than the limit, where no cgroup does."""
        limit_bytes = self._function["MemorySize"] * MIB
        while not self._ended.wait(_LOOK_S):
            with contextlib.suppress(psutil.Error, OSError):
                for process in psutil.Process(self._process.pid).children(recursive=True):
                    used = process.memory_info()
                    held = used.rss - getattr(used, "shared", 0)
                    self._peak_bytes = max(self._peak_bytes, held)
                    if held > limit_bytes:
                        process.kill()

    def _kill_when_invoked(self):
        wait_until(lambda: _INVOKED in self._log.read_bytes()[self._seen :])
        self._signal(signal.SIGKILL)

    def _signal(self, number):
        """Send a signal to the function's process."""
        with contextlib.suppress(psutil.Error, OSError):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.send_signal(number)

    def end(self):
        """End it with all that it has started."""
        self._ended.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._cell is not None:
            self._cell.kill()
            wait_until(self._cell.remove)


def is_error(body):
    """Whether an answer is what the runtime client says of an error."""
    with contextlib.suppress(ValueError):
        said = json.loads(body)
        return isinstance(said, dict) and {"errorType", "errorMessage"} <= said.keys()
    return False
