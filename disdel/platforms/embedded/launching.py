"""Starts the embedded platform, which is a process of its own.

`start_embedded` is for one command: the platform ends with it, even when it is killed.
`platform_up` leaves one running in the background, which `finding` finds from then on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from disdel.connections.trust import certificates
from disdel.errors import PlatformError, UsageError
from disdel.host.environment import for_children
from disdel.host.home import make_own
from disdel.host.telling import told
from disdel.platforms.embedded.finding import (
    STOP_DEADLINE_S,
    PlatformInfo,
    platform_status,
    platforms_elsewhere,
)
from disdel.platforms.embedded.lock import LOCK_NAME, try_lock
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.access import ApiAccess

START_DEADLINE_S = 30.0
_POLL_S = 0.02
_LOG_TAIL_LINES = 15


class EmbeddedPlatform:
    """A platform that belongs to this process; a context manager that stops it.

    It may still be starting: `wait_until_ready` returns when it answers, and its facts are there
    from then on.
    """

    info: PlatformInfo

    def __init__(self, process: subprocess.Popen[bytes], ready: IO[bytes], log: Path) -> None:
        self._process = process
        self._ready = ready
        self._log = log

    def wait_until_ready(self) -> None:
        """Return when the platform answers.

        Raises:
            UsageError: it refuses how it was to be started.
            PlatformError: it did not start; the message holds the end of its log.
        """
        with self._ready:
            self.info = _announced(self._process, self._ready, self._log)

    def expect(self, image: str) -> None:
        """Have it ready for containers of this kind or image, which will be wanted soon."""
        assert self._process.stdin is not None
        # One that has ended says so where it is waited for.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{image}\n".encode())
            self._process.stdin.flush()

    @property
    def access(self) -> ApiAccess:
        return self.info.access

    @property
    def enforcement(self) -> str:
        return self.info.enforcement

    @property
    def user_memory_mb(self) -> int:
        return self.info.user_memory_mb

    def wait(self) -> None:
        """Return when the platform has ended by itself."""
        self._process.wait()

    def leave(self) -> None:
        """Have the platform stop, and do not wait for it; may be called again."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def close(self) -> None:
        """Stop the platform and wait until it has cleaned up; may be called again."""
        self.leave()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            # Its containers end with it, and the next start removes the rest.
            self._process.kill()
            self._process.wait()
        self._ready.close()

    def __enter__(self) -> EmbeddedPlatform:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def begin_embedded(options: EmbeddedOptions, *, lock: int | None = None) -> EmbeddedPlatform:
    """Start a platform that ends with this process, and do not wait for it.

    Args:
        options: how to start it.
        lock: let other commands find it, which this descriptor entitles it to.
    """
    arguments = ["--stop-on-eof", *([] if lock is None else ["--shared"])]
    return EmbeddedPlatform(*_launch(options, arguments, stdin=subprocess.PIPE, lock=lock))


def start_embedded(options: EmbeddedOptions, *, shared: bool = False) -> EmbeddedPlatform:
    """Start a platform that ends with this process, and wait until it answers.

    Args:
        options: how to start it.
        shared: let other commands find it while it runs.

    Raises:
        UsageError: it is to be shared, and there is one already.
        PlatformError: it did not start; the message holds the end of its log.
    """
    with _the_only_one(options.state_folder) if shared else contextlib.nullcontext() as lock:
        started = begin_embedded(options, lock=lock)
        started.wait_until_ready()
    return started


def platform_up(options: EmbeddedOptions) -> PlatformInfo:
    """Start a platform in the background, to run until `platform_down`.

    Raises:
        UsageError: one is running already.
        PlatformError: it did not start.
    """
    with _the_only_one(options.state_folder) as lock:
        process, ready, log = _launch(options, ["--shared"], stdin=subprocess.DEVNULL, lock=lock)
        with ready:
            info = _announced(process, ready, log)
    # It is to outlive this process; nobody here waits for it.
    process.returncode = 0
    return info


@contextlib.contextmanager
def _the_only_one(state_folder: Path) -> Iterator[int]:
    """The lock that the one shared platform of a state folder holds, from before its start.

    The platform inherits the descriptor, and keeps the lock for as long as it lives, also when the
    command that starts it is killed.

    Raises:
        UsageError: another one is running, or was started at the same time.
        PlatformError: the lock cannot be had.
    """
    make_own(state_folder)
    path = state_folder / LOCK_NAME
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not try_lock(lock, path):
            _refuse_where_one_runs(state_folder)
            _refuse_where_one_hides(state_folder)
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"another process holds {path}, and no platform answers: stop it, or choose "
                    "another folder with DISDEL_STATE_DIR"
                )
            time.sleep(_POLL_S)
        _refuse_where_one_runs(state_folder)
        yield lock
    finally:
        os.close(lock)


def _refuse_where_one_runs(state_folder: Path) -> None:
    running = platform_status(state_folder)
    if running:
        raise UsageError(
            f"a platform is already running at {running.access.apihost} (process {running.pid}): "
            "stop it first with `disdel platform down`"
        )


def _refuse_where_one_hides(state_folder: Path) -> None:
    elsewhere = platforms_elsewhere(state_folder)
    if elsewhere:
        raise UsageError(
            f"a platform that uses the same state folder, {state_folder}, runs elsewhere: "
            f"{elsewhere[0]}. Stop it there, or choose another folder with DISDEL_STATE_DIR"
        )


def _launch(
    options: EmbeddedOptions, arguments: list[str], *, stdin: int, lock: int | None
) -> tuple[subprocess.Popen[bytes], IO[bytes], Path]:
    """A platform's process, where it will say that it is ready, and its log."""
    with _new_log(options.state_folder) as log, contextlib.ExitStack() as undo:
        trusted = certificates()
        ready, ended = map(undo.enter_context, _pipe())
        with ended:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "openwhisk_local"),
                    # Of a company, for example, whose network the actions are in too.
                    *(f"--pass-env={name}" for name in trusted),
                    *options.arguments(),
                    *arguments,
                    f"--log={log.name}",
                    f"--ready-fd={ended.fileno()}",
                ],
                stdin=stdin,
                stdout=log,
                stderr=log,
                pass_fds=[ended.fileno(), *([] if lock is None else [lock])],
                # Ctrl-C in the terminal is for the command, which then stops the platform.
                start_new_session=True,
                env={**for_children(), **trusted},
            )
        undo.pop_all()
        return process, ready, Path(log.name)


def _announced(process: subprocess.Popen[bytes], ready: IO[bytes], log: Path) -> PlatformInfo:
    """What a platform says of itself once it answers; one that does not is ended.

    Raises:
        UsageError: it refuses how it was to be started.
        PlatformError: it did not start; the message holds the end of its log.
    """
    try:
        line = _read_line(ready, START_DEADLINE_S)
        facts = json.loads(line) if line else {}
        if "error" in facts:
            process.wait(STOP_DEADLINE_S)
            if process.stdin is not None:
                process.stdin.close()
            log.unlink()
            raise _failure(facts)
        if facts:
            return _read_announcement(facts)
        # It closed its end of the pipe without a word, so it is about to end.
        why = f"ended with status {process.wait(STOP_DEADLINE_S)}"
    except (TimeoutError, subprocess.TimeoutExpired):
        why = f"not ready in {START_DEADLINE_S:g} s"
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode == UsageError.exit_code:
        # Of an option: it says in its last line what it was asked that it cannot do.
        said = _tail(log).splitlines()[-1:]
        log.unlink()
        raise UsageError("".join(said) or f"the embedded platform {why}")
    raise PlatformError(
        f"the embedded platform did not start: {why}. Its log, {log}, ends:\n{_tail(log)}"
    )


def _failure(facts: dict[str, Any]) -> UsageError | PlatformError:
    """Why a platform did not start, by what it told."""
    why, code = facts["error"], UsageError.exit_code if facts.get("refused") else 1
    if "os_error" in facts:
        number, what, name, other = facts["os_error"]
        why, code = told(OSError(number, what, name, None, other)) or (why, code)
    kind = UsageError if code == UsageError.exit_code else PlatformError
    return kind(f"the embedded platform cannot start: {why}")


@contextlib.contextmanager
def _new_log(state_folder: Path) -> Iterator[IO[bytes]]:
    """A log file, which the platform removes when it ends in order."""
    folder = state_folder.absolute() / "platforms"
    make_own(folder)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".log", delete=False) as log:
        yield log


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """The end to read from, and the one to write to."""
    read_fd, write_fd = os.pipe()
    return os.fdopen(read_fd, "rb", buffering=0), os.fdopen(write_fd, "wb")


def _read_line(reader: IO[bytes], deadline_s: float) -> bytes:
    """One whole line; empty if the writer ends first.

    Raises:
        TimeoutError: the time is up.
    """
    end = time.monotonic() + deadline_s
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            raise TimeoutError
        chunk = reader.read(4096)
        if not chunk:
            return b""
        line += chunk
    return line


def _read_announcement(facts: dict[str, Any]) -> PlatformInfo:
    return PlatformInfo(
        access=ApiAccess(facts["apihost"], facts["auth"]),
        pid=facts["pid"],
        enforcement=facts["enforcement"],
        isolation=facts["isolation"],
        limits=facts["limits"],
        user_memory_mb=facts["user_memory_mb"],
        namespaces=facts["namespaces"],
    )


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
