"""Actions in processes of their own, each within its limits, where somebody else's worker runs us.

Workers of executors and instances of functions have no memory limit for each action, and cannot
end a call at its time limit. So an action runs in a child of the worker, which stays warm for the
next call of the same action, and which the worker ends when it overruns a limit. That the child
dies does not matter to the worker.

Memory is sampled, as the embedded platform does without cgroups; where there is no `/proc` it is
not limited, and `ENFORCEMENT` says so.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disdel.entry.container import SCRATCH
from disdel.protocol.signing_keys import FILE_ENV, KEY_ENV
from openwhisk_local.machine.container_memory import (
    LIMIT_ENV,
    LIMIT_FILE_ENV,
    STATE_ENV,
    process_tree,
    resident,
)
from openwhisk_local.machine.scratch import Scratch, sweep

ENFORCEMENT = "sampling" if Path("/proc/self/status").exists() else "none"
# What a child may not know: it runs the code of whoever calls.
SECRETS = ("DISDEL_TOKEN", KEY_ENV, FILE_ENV)
_SCRIPT = Path(__file__).with_name("container.py")
_LOOK_S = 0.02
# A child of nobody's call is ended after that.
_IDLE_S = 60.0
# Of a call's log the end is kept, and of a child's file so much.
_LOG_BYTES = 64 * 1024
_LOG_FILE_BYTES = 8 << 20
# A child that leaves more temporary files is not used again.
_SCRATCH_BYTES = 64 << 20
# A child that was killed by the kernel when it used so much of its limit was out of memory.
_NEARLY = 0.9
_GONE_S = 5.0
# What stands around an answer: {"result": …}
_AROUND = 12


class Ended(Exception):
    """A child that answers no more.

    Attributes:
        ending: how, in the words of an activation's record.
    """

    def __init__(self, ending: str, why: str) -> None:
        super().__init__(why)
        self.ending = ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a child is for: it serves calls of one action of one package alone.

    Attributes:
        key: of package, action and size.
        action: its name.
        folder: of its code, the library included.
        memory_mb: its limit.
    """

    key: str
    action: str
    folder: Path
    memory_mb: int


@dataclass(eq=False)
class _Child:
    """One process of an action."""

    wanted: Wanted
    folder: Path
    process: subprocess.Popen[bytes]
    idle_s: float = 0.0
    is_forgotten: bool = False
    _answers: bytearray = field(default_factory=bytearray)
    _read: int = 0
    _most_bytes: int = 0

    @classmethod
    def start(cls, wanted: Wanted, folder: Path) -> _Child:
        (folder / "tmp").mkdir(parents=True)
        environment = {
            name: text
            for name, text in os.environ.items()
            if name not in (*SECRETS, LIMIT_FILE_ENV, STATE_ENV)
        }
        # The packages of this process, wherever it has them from.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        environment["TMPDIR"] = str(folder / "tmp")
        environment[LIMIT_ENV] = str(wanted.memory_mb << 20)
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT), wanted.action, str(wanted.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        return cls(wanted, folder, process)

    def begin(self, until_s: float) -> None:
        """Wait until its action can be called.

        Raises:
            Ended: it cannot.
        """
        if not self._answer(until_s, "start-time-limit", _LOG_BYTES)["started"]:
            raise Ended("not-started", "its code could not be loaded; the log says why")

    def ask(self, request: Mapping[str, object], until_s: float, reply_bytes: int) -> Any:
        """What the action answers.

        Raises:
            Ended: it does not, within its limits.
        """
        assert self.process.stdin is not None
        text = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while text:
                text = text[self.process.stdin.write(text) :]
        except OSError:
            raise self._gone() from None
        return self._answer(until_s, "time-limit", reply_bytes)["result"]

    def _answer(self, until_s: float, ending: str, most_bytes: int) -> Any:
        assert self.process.stdout is not None
        began_s = looked_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (end := self._answers.find(b"\n", max(0, len(self._answers) - 65536))) < 0:
                if len(self._answers) > most_bytes + _AROUND:
                    raise _too_long(most_bytes)
                now_s = time.monotonic()
                if now_s >= until_s:
                    took_s = now_s - began_s
                    raise Ended(ending, f"not done after {took_s:.1f} s, so its process was ended")
                if now_s >= looked_s + _LOOK_S:
                    self._look()
                    looked_s = now_s
                if selector.select(min(_LOOK_S, until_s - now_s)):
                    piece = os.read(self.process.stdout.fileno(), 65536)
                    if not piece:
                        raise self._gone()
                    self._answers += piece
        line = bytes(self._answers[:end])
        del self._answers[: end + 1]
        if end > most_bytes + _AROUND:
            raise _too_long(most_bytes)
        return json.loads(line)

    def _look(self) -> None:
        """End it where it is past its memory."""
        if ENFORCEMENT == "none":
            return
        use = resident(process_tree(self.process.pid))
        used = use.anonymous_bytes + use.shared_bytes
        self._most_bytes = max(self._most_bytes, used)
        limit = self.wanted.memory_mb << 20
        if used > limit:
            raise Ended("out-of-memory", f"its process grew past {self.wanted.memory_mb} MB")
        log = self.folder / "log"
        if log.stat().st_size > _LOG_FILE_BYTES:
            os.truncate(log, 0)
            self._read = 0

    def _gone(self) -> Ended:
        """How its process has ended."""
        try:
            status = self.process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            return Ended("vanished", "its process has closed what it answers by")
        nearly = self._most_bytes > _NEARLY * (self.wanted.memory_mb << 20)
        if status == -signal.SIGKILL and nearly:
            used_mb = self._most_bytes >> 20
            return Ended("out-of-memory", f"its process was killed when it used {used_mb} MB")
        return Ended("vanished", f"its process ended by itself, with status {status}")

    def lines(self) -> list[str]:
        """The end of what it has printed since the last call."""
        log = self.folder / "log"
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._read, size - _LOG_BYTES))
            text = file.read()
        self._read = size
        if size > _LOG_FILE_BYTES // 2:
            os.truncate(log, 0)
            self._read = 0
        return text.decode(errors="replace").splitlines()

    def is_clean(self) -> bool:
        """Whether it lives, has nothing more to say, and has left few temporary files."""
        if self.process.poll() is not None or self._answers:
            return False
        files = (self.folder / "tmp").rglob("*")
        with contextlib.suppress(OSError):
            return sum(file.lstat().st_size for file in files) <= _SCRATCH_BYTES
        return False

    def end(self) -> None:
        """Kill it with all its processes, and remove what it has left."""
        family = process_tree(self.process.pid) if ENFORCEMENT != "none" else []
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Containers:
    """The children of this process. Threads may share it."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        sweep(SCRATCH)
        self._scratch = Scratch(SCRATCH)
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._count = 0
        self._closed = threading.Event()
        threading.Thread(target=self._reap, name="disdel-idle", daemon=True).start()
        atexit.register(self.close)
        if (util := sys.modules.get("multiprocessing.util")) is not None:
            # Workers of process pools run no atexit.
            util.Finalize(None, self.close, exitpriority=100)

    @property
    def folder(self) -> Path:
        """Where this process may keep files as long as it lives."""
        return self._scratch.path

    def run(
        self,
        wanted: Wanted,
        arguments: Mapping[str, object],
        *,
        activation_id: str,
        timeout_s: float,
        reply_bytes: int,
        room_mb: int,
    ) -> dict[str, Any]:
        """The record of a call, as JSON.

        Args:
            wanted: the child.
            arguments: of the action, its package's merged in.
            activation_id: of this call.
            timeout_s: its time limit, the start of a child included.
            reply_bytes: the longest answer.
            room_mb: the limits of all children together, for each call that runs.
        """
        began_s, until_s = time.time(), time.monotonic() + timeout_s
        init_ms: int | None = None
        child, logs = self._take(wanted, room_mb), []
        try:
            if child is None:
                child = self._start(wanted)
                child.begin(until_s)
                init_ms = round((time.time() - began_s) * 1000)
            request = {
                "arguments": arguments,
                "activation_id": activation_id,
                "deadline_ms": int((began_s + timeout_s) * 1000),
            }
            result = child.ask(request, until_s, reply_bytes)
            ending = "application-error" if "error" in result else "success"
        except Ended as ended:
            ending, result = ended.ending, {"error": str(ended)}
        except OSError as error:
            ending, result = "no-container", {"error": f"no process could be started: {error}"}
        if child is not None:
            logs = child.lines()
            self._give_back(child, keep=ending in ("success", "application-error"))
        return {
            "ending": ending,
            "result": result,
            "start_ms": round(began_s * 1000),
            "duration_ms": round((time.time() - began_s) * 1000),
            "init_ms": init_ms,
            "logs": logs,
        }

    def forget(self, prefix: str) -> None:
        """End the children whose keys begin so: at once those that are idle, the others then."""
        with self._lock:
            for child in self._busy:
                child.is_forgotten |= child.wanted.key.startswith(prefix)
            gone = [child for child in self._idle if child.wanted.key.startswith(prefix)]
            self._idle = [child for child in self._idle if child not in gone]
        for child in gone:
            child.end()

    def close(self) -> None:
        """End all children and remove all files."""
        self._closed.set()
        with self._lock:
            gone = [*self._idle, *self._busy]
            self._idle, self._busy = [], set()
        for child in gone:
            child.end()
        self._scratch.close()

    def _take(self, wanted: Wanted, room_mb: int) -> _Child | None:
        """An idle child; where there is none, room is made for one."""
        gone = []
        try:
            with self._lock:
                for child in reversed(self._idle):
                    if child.wanted == wanted:
                        self._idle.remove(child)
                        if child.is_clean():
                            self._busy.add(child)
                            return child
                        gone.append(child)
                taken_mb = wanted.memory_mb + sum(
                    child.wanted.memory_mb for child in (*self._idle, *self._busy)
                )
                while self._idle and taken_mb > room_mb * (len(self._busy) + 1):
                    gone.append(self._idle.pop(0))
                    taken_mb -= gone[-1].wanted.memory_mb
        finally:
            for child in gone:
                child.end()
        return None

    def _start(self, wanted: Wanted) -> _Child:
        with self._lock:
            self._count += 1
            folder = self._scratch.path / f"child-{self._count}"
        child = _Child.start(wanted, folder)
        with self._lock:
            self._busy.add(child)
        return child

    def _give_back(self, child: _Child, *, keep: bool) -> None:
        keep = keep and child.is_clean()
        with self._lock:
            ours = child in self._busy
            self._busy.discard(child)
            if keep and ours and not child.is_forgotten:
                child.idle_s = time.monotonic()
                self._idle.append(child)
                return
        child.end()

    def _reap(self) -> None:
        while not self._closed.wait(self._idle_s / 4):
            before_s = time.monotonic() - self._idle_s
            with self._lock:
                gone = [child for child in self._idle if child.idle_s < before_s]
                self._idle = [child for child in self._idle if child not in gone]
            for child in gone:
                child.end()


def _too_long(most_bytes: int) -> Ended:
    return Ended(
        "application-error",
        f"the answer is longer than the {most_bytes} bytes that the platform takes",
    )
