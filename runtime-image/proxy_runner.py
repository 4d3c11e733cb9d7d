"""The one action of a container, and what its activations answer. Part of the proxy.

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from container_memory import (
    STATE_ENV,
    MemoryMonitor,
    MemoryUse,
    critical_line,
    find_cgroup,
    read_memory,
)

from proxy_code import InitError, load, unpack

try:
    import memory_warning
except ImportError:
    memory_warning = None  # type: ignore[assignment]

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
LOG_MARK_ENV = "DISDEL_LOG_MARK"
PEAK_HEADER = "X-Disdel-Peak-Memory-Bytes"
CRITICAL_HEADER = "X-Disdel-Memory-Critical"
REPLY_FIELD_ENV = "DISDEL_MEMORY_REPLY_FIELD"

ALREADY_INITIALIZED = "Cannot initialize the action more than once."
NO_CODE = "Missing main/no code to execute."
NOT_INITIALIZED = "no action defined yet"
EXITED = "command exited"
NOT_A_DICTIONARY = "The action did not return a dictionary or array."


@dataclass(frozen=True)
class Reply:
    """An answer; `ends` asks for the process to end once it has been sent."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    ends: bool = False


def failure(status: int, message: str, *, ends: bool = False) -> Reply:
    return Reply(status, json.dumps({"error": message}).encode(), ends=ends)


class ActionRunner:
    """The one action of this container, from `/init` on.

    Args:
        critical_bytes: the size of the critical region.
        streams: carry the output of its activations.
    """

    def __init__(self, critical_bytes: int, streams: Streams) -> None:
        self._streams = streams
        self._stock = bool(os.environ.pop("DISDEL_STOCK_PROXY", ""))
        self.end_of_reply = b"\n" if self._stock else b""
        self._critical_bytes = critical_bytes
        self._main: Callable[[object], object] = lambda value: value
        self._initialized = False

    def init(self, body: bytes) -> Reply:
        """Load the action of an `/init`."""
        if self._initialized:
            sys.stderr.write(f"{ALREADY_INITIALIZED}\n")
            return failure(403, ALREADY_INITIALIZED)
        try:
            request = json.loads(body)
            value = request.get("value", {})
            code, entry, environment = value.get("code"), value.get("main"), value.get("env") or {}
        except (ValueError, TypeError, AttributeError) as error:
            return failure(400, f"Error unmarshaling request: {error}")
        if not code:
            return failure(403, NO_CODE)
        os.environ.update({name: str(text) for name, text in environment.items()})
        self._streams.begin()
        try:
            unpack(code, binary=bool(value.get("binary")), bom=not self._stock)
            self._main = load(entry or "main")
            self._initialized = True
        except InitError as failed:
            self._streams.end()
            return failure(failed.status, str(failed))
        return Reply(200, b'{"ok":true}')

    def run(self, body: bytes) -> Reply:
        """Call the action with the parameters of a `/run`."""
        if not self._initialized:
            return failure(500, NOT_INITIALIZED)
        try:
            request = json.loads(body)
            value = request.pop("value", {})
        except (ValueError, TypeError, AttributeError) as error:
            return failure(400, f"Error unmarshaling request: {error}")
        os.environ.update(
            {
                f"__OW_{name.upper()}": text if isinstance(text, str) else json.dumps(text)
                for name, text in request.items()
            }
        )
        self._streams.begin()
        teller = None
        if memory_warning is not None:
            teller = memory_warning.Teller(value, limit_now, log)
        with MemoryMonitor(
            state_path=Path(os.environ[STATE_ENV]),
            critical_bytes=self._critical_bytes,
            on_critical=lambda use: self._warn(use, teller),
        ) as monitor:
            reply = call(self._main, value, monitor)
        if teller is not None:
            teller.end()
        self._streams.end()
        reply.headers[PEAK_HEADER] = str(monitor.use().peak_bytes)
        if monitor.warned:
            reply.headers[CRITICAL_HEADER] = "1"
        return reply

    def _warn(self, use: MemoryUse, teller: memory_warning.Teller | None) -> None:
        """Tell the activation's log, and the memory agent where there is one."""
        log(critical_line(use, self._critical_bytes))
        if teller is not None:
            teller.warn(
                used_bytes=use.used_bytes,
                limit_bytes=use.limit_bytes or 0,
                critical_bytes=self._critical_bytes,
            )


def limit_now() -> int | None:
    """The container's memory limit, in bytes."""
    return read_memory(find_cgroup()).limit_bytes


def call(main: Callable[[object], object], value: object, monitor: MemoryMonitor) -> Reply:
    """Run the action once and turn what comes of it into OpenWhisk's answer."""
    try:
        result = main(value)
    except Exception as error:
        traceback.print_exc()
        result = {"error": str(error)}
    except BaseException:
        return failure(400, EXITED, ends=True)
    field_name = os.environ.get(REPLY_FIELD_ENV)
    # Of an error OpenWhisk keeps nothing else.
    if field_name and isinstance(result, dict) and "error" not in result:
        use = monitor.use()
        if monitor.warned:
            result = {**result, field_name: asdict(use)}
    try:
        body = json.dumps(result, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        traceback.print_exc()
        return failure(400, EXITED, ends=True)
    # OpenWhisk's proxy lets null pass, and refuses what is not JSON: NaN and the infinities.
    if not (result is None or isinstance(result, dict | list | tuple)) or not is_json(body):
        return failure(502, NOT_A_DICTIONARY)
    return Reply(200, body)


def is_json(body: bytes) -> bool:
    """Whether `body`, which `json.dumps` wrote, is JSON beyond Python's own dialect."""
    if b"NaN" not in body and b"Infinity" not in body:
        return True

    def refuse(constant: str) -> object:
        raise ValueError(constant)

    try:
        json.loads(body, parse_constant=refuse)
    except ValueError:
        return False
    return True


def log(line: str) -> None:
    """Write to the activation's log, past `sys.stderr`, which the action may have replaced."""
    with contextlib.suppress(OSError):
        os.write(2, line.encode())


class Streams:
    """The two streams of the container, which carry one activation's output after another's.

    The marks go through descriptors of their own: an action may close or replace 1 and 2.
    """

    def __init__(self) -> None:
        secret = os.environ.pop(LOG_MARK_ENV, "")
        self._libc = ctypes.CDLL(None)
        self._descriptors = [os.dup(descriptor) for descriptor in (1, 2)]
        self._begin = f"{secret} begins\n".encode() if secret else b""
        self._end = f"{secret} ends\n".encode() if secret else f"{SENTINEL}\n".encode()

    def begin(self) -> None:
        self._mark(self._begin)

    def end(self) -> None:
        self._mark(self._end)

    def _mark(self, mark: bytes) -> None:
        for stream in (sys.stdout, sys.stderr):
            # The action may have closed them, or put anything else in their place.
            with contextlib.suppress(Exception):
                stream.flush()
        # What libraries in C have printed.
        self._libc.fflush(None)
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                # An action may also have made the pipe behind it one that refuses when it is full.
                os.set_blocking(descriptor, True)
                os.write(descriptor, mark)
