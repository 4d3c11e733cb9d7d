"""Starts, finds and stops the embedded platform, which is a process of its own.

`start_embedded` is for one command: the platform ends with it, even when it is killed.
`platform_up` leaves one running in the background, which `find_running` finds from then on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, ClassVar, Literal

from disdel.config import ApiAccess, state_dir
from disdel.connections.trust import certificates
from disdel.errors import PlatformError, UsageError
from disdel.host.home import make_own
from disdel.host.telling import told
from disdel.types import Capacity
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from openwhisk_local.limits import MAX_ENTITIES_MB, MAX_RECORDS, MAX_RECORDS_MB
from openwhisk_local.machine.cpus import usable_cpus
from openwhisk_local.machine.gpu import first_gpu
from openwhisk_local.records import PlatformRecord, is_dead, read_records

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 15.0
_PING_TIMEOUT_S = 5.0
_POLL_S = 0.02
_LOG_TAIL_LINES = 15
_LOCK_NAME = "platform.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """How to start a platform; None leaves a choice to the platform or to the settings.

    Args:
        port: 0 is any free one.
        enforcement: "auto" limits memory by the kernel where it can.
        state_dir: where running platforms are recorded.
        state: the folder that keeps packages, actions, activations and the key from one platform
            to the next; None keeps nothing.
        prewarm: containers to keep started, each `KIND_OR_IMAGE:MB:COUNT`.
        grow_to_mb: up to where the limit of a container grows that reaches it; 0 is not at all.
        max_records: how many activation records are kept, and `max_records_mb` of how many MB
            together; beyond that the oldest go.
        namespaces: those beside `guest`, each with a key of its own.
        max_entities_mb: what packages, actions, triggers and rules may take, their code included.
    """

    VARIABLES: ClassVar[str] = "DISDEL_PLATFORM_"

    limits: Annotated[
        Literal["roomy", "stock"],
        Setting("Limits of a roomy deployment, or OpenWhisk's own."),
    ] = "roomy"
    user_memory_mb: Annotated[
        int | None,
        Setting("Memory of all containers together.", low=1, default="by the limits"),
    ] = None
    prewarm: Annotated[
        tuple[str, ...],
        Setting(
            "Keep so many containers started; may be repeated.", metavar="KIND_OR_IMAGE:MB:COUNT"
        ),
    ] = ()
    grow_to_mb: Annotated[
        int,
        Setting(
            "Raise the limit of a container that is about to reach it, up to this; 0: never.",
            low=0,
        ),
    ] = 0
    state: Annotated[
        Path | None,
        Setting("Keep actions, activations and the key there.", metavar="DIR"),
    ] = None
    namespaces: Annotated[
        tuple[str, ...],
        Setting(
            "Have this one beside guest, with a key of its own; may be repeated.",
            name="namespace",
            metavar="NAME",
        ),
    ] = ()
    max_records: Annotated[int, Setting("Activation records to keep, the newest ones.", low=1)] = (
        MAX_RECORDS
    )
    max_records_mb: Annotated[
        int, Setting("Of all of them together.", name="max_records_mb", low=1)
    ] = MAX_RECORDS_MB
    max_entities_mb: Annotated[
        int,
        Setting(
            "Of packages, actions with their code, triggers and rules together.",
            name="max_entities_mb",
            low=1,
        ),
    ] = MAX_ENTITIES_MB
    port: Annotated[int, Setting("0 takes a free one.", low=0, high=65_535)] = 0
    enforcement: Literal["auto", "sampling"] = "auto"
    state_dir: Path | None = None

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def state_folder(self) -> Path:
        return self.state_dir or state_dir()

    def arguments(self) -> list[str]:
        arguments = [
            f"--limits={self.limits}",
            f"--port={self.port}",
            f"--enforcement={self.enforcement}",
            f"--state-dir={self.state_folder.absolute()}",
            f"--grow-to={self.grow_to_mb}",
            f"--max-records={self.max_records}",
            f"--max-records-mb={self.max_records_mb}",
            f"--max-entities-mb={self.max_entities_mb}",
            *(f"--prewarm={stem}" for stem in self.prewarm),
            *(f"--namespace={name}" for name in self.namespaces),
        ]
        if self.state is not None:
            arguments.append(f"--state={self.state.absolute()}")
        if self.user_memory_mb is not None:
            arguments.append(f"--user-memory={self.user_memory_mb}")
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformInfo:
    """A platform that runs, or ran: how to reach it, and how it enforces memory limits.

    `namespaces` are those beside `guest`, with their keys.
    """

    access: ApiAccess
    pid: int
    enforcement: str
    isolation: str
    limits: str
    user_memory_mb: int
    namespaces: Mapping[str, str] = field(default_factory=dict, repr=False)


class EmbeddedPlatform:
    """A platform that belongs to this process; a context manager that stops it."""

    def __init__(self, info: PlatformInfo, process: subprocess.Popen[bytes]) -> None:
        self.info = info
        self._process = process

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

    def close(self) -> None:
        """Stop the platform and wait until it has cleaned up; may be called again."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            # Its containers end with it, and the next start removes the rest.
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> EmbeddedPlatform:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def embedded_capacity(options: EmbeddedOptions) -> Capacity:
    """What a platform started with `options` would allow; nothing is started."""
    from openwhisk_local.limits import MAX_TIMEOUT_MS, platform_limits

    limits = platform_limits(options.limits, options.user_memory_mb)
    gpu = first_gpu()
    return Capacity(
        memory_min_mb=limits.min_memory_mb,
        memory_max_mb=limits.max_memory_mb,
        timeout_max_s=MAX_TIMEOUT_MS / 1000,
        concurrency=limits.concurrent_invokes,
        invokes_per_minute=limits.invokes_per_minute,
        pool_memory_mb=limits.user_memory_mb,
        cpus=usable_cpus(),
        gpu_memory_mb=None if gpu is None else gpu.memory_mb,
    )


def start_embedded(options: EmbeddedOptions, *, shared: bool = False) -> EmbeddedPlatform:
    """Start a platform that ends with this process, and wait until it answers.

    Args:
        options: how to start it.
        shared: let other commands find it while it runs.

    Raises:
        UsageError: it is to be shared, and there is one already.
        PlatformError: it did not start; the message holds the end of its log.
    """
    arguments = ["--stop-on-eof", *(["--shared"] if shared else [])]
    with _the_only_one(options.state_folder) if shared else contextlib.nullcontext() as lock:
        process, info = _launch(options, arguments, stdin=subprocess.PIPE, lock=lock)
    return EmbeddedPlatform(info, process)


def platform_up(options: EmbeddedOptions) -> PlatformInfo:
    """Start a platform in the background, to run until `platform_down`.

    Raises:
        UsageError: one is running already.
        PlatformError: it did not start.
    """
    with _the_only_one(options.state_folder) as lock:
        process, info = _launch(options, ["--shared"], stdin=subprocess.DEVNULL, lock=lock)
    # It is to outlive this process; nobody here waits for it.
    process.returncode = 0
    return info


def platform_status(state_folder: Path | None = None) -> PlatformInfo | None:
    """The platform that runs in the background, if its process lives and answers."""
    record = _shared_record(state_folder)
    return _info(record) if record and _answers(record) else None


def find_running(state_folder: Path | None = None) -> ApiAccess | None:
    """How to reach the platform that runs in the background, if there is one."""
    running = platform_status(state_folder)
    return running.access if running else None


def platform_down(state_folder: Path | None = None) -> PlatformInfo | None:
    """Stop the platform that runs in the background, and wait until it has cleaned up.

    Returns:
        What was stopped, None if there was nothing to stop.
    """
    record = _shared_record(state_folder)
    if record is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while record.alive:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    with contextlib.suppress(ChildProcessError):
        # Where this very process has started it, it is also the one to bury it.
        os.waitpid(record.pid, os.WNOHANG)
    return _info(record)


def _shared_record(state_folder: Path | None) -> PlatformRecord | None:
    records = read_records(state_folder or state_dir())
    return next((record for record in records if record.shared and record.alive), None)


def platforms_elsewhere(state_folder: Path | None = None) -> list[str]:
    """Where shared platforms run that are recorded here and cannot be seen from here."""
    folder = state_folder or state_dir()
    hidden = [r for r in read_records(folder) if r.shared and not r.process.seen_from_here]
    if not hidden or _is_free(folder / _LOCK_NAME):
        return []
    return [record.process.place for record in hidden if not is_dead(folder, record)]


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
    path = state_folder / _LOCK_NAME
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not _try_lock(lock, path):
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


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PlatformError(
            f"{path} cannot be locked ({error}): name a folder of a file system with locks in "
            "DISDEL_STATE_DIR"
        ) from error
    return True


def _is_free(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            return _try_lock(file.fileno(), path)
    except FileNotFoundError:
        return True


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


def _info(record: PlatformRecord) -> PlatformInfo:
    return PlatformInfo(
        access=ApiAccess(record.apihost, record.auth),
        pid=record.pid,
        enforcement=record.enforcement,
        isolation=record.isolation,
        limits=record.limits,
        user_memory_mb=record.user_memory_mb,
        namespaces=record.namespaces,
    )


def _answers(record: PlatformRecord) -> bool:
    import httpx

    try:
        reply = httpx.get(f"{record.apihost}/ping", timeout=_PING_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return False
    return reply.text == "pong"


def _launch(
    options: EmbeddedOptions, arguments: list[str], *, stdin: int, lock: int | None
) -> tuple[subprocess.Popen[bytes], PlatformInfo]:
    with _new_log(options.state_folder) as log, _pipe() as (ready, ended):
        trusted = certificates()
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
            env={**os.environ, **trusted, "PYTHONPATH": _python_path()},
        )
        ended.close()
        try:
            line = _read_line(ready, START_DEADLINE_S)
            facts = json.loads(line) if line else {}
            if "error" in facts:
                process.wait(STOP_DEADLINE_S)
                if process.stdin is not None:
                    process.stdin.close()
                Path(log.name).unlink()
                raise _failure(facts)
            if facts:
                return process, _read_announcement(facts)
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
            said = _tail(Path(log.name)).splitlines()[-1:]
            Path(log.name).unlink()
            raise UsageError("".join(said) or f"the embedded platform {why}")
        raise PlatformError(
            f"the embedded platform did not start: {why}. Its log, {log.name}, ends:\n"
            + _tail(Path(log.name))
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


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb", buffering=0) as reader, os.fdopen(write_fd, "wb") as writer:
        yield reader, writer


def _python_path() -> str:
    """The module search path under which the child finds the same disdel, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


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
