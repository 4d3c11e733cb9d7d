"""The action proxy: what a container runs to serve OpenWhisk's `POST /init` and `POST /run`.

The HTTP server and the user's action share one process and one thread, so that a kill for memory
takes the whole container, as the platform expects, and so that action code runs in the main
thread. Requests are served one at a time. Standard library only.

Environment:
    DISDEL_PREIMPORT            modules to import, comma separated, after the port is open and
                                before the first request is served
    DISDEL_PREIMPORT_WITHOUT    modules, comma separated, that those imports do not find: what a
                                framework takes along where it is installed and no action needs
    DISDEL_LOG_MARK             a secret by which to mark where an activation's output begins and
                                ends on each stream, instead of OpenWhisk's one mark of the end
    DISDEL_STOCK_PROXY          answer as the proxy of OpenWhisk's own Python image: a newline ends
                                every reply, and code with a byte order mark is none
    DISDEL_PARENT_PID           end when this process, which must be the parent, ends (Linux)
    DISDEL_MOUNTS               what to mount before anything else, see container_mounts.py, which
                                only the embedded platform lays beside this file
    DISDEL_ADOPT_ORPHANS        keep the processes whose parent ends, where nothing else holds a
                                container together (Linux)
    DISDEL_MEMORY_CRITICAL_MB   size of the critical region, see container_memory.py
    DISDEL_MEMORY_REPLY_FIELD   add a field of this name to results that are objects, but no errors,
                                if the critical region was entered; by default a result is the
                                action's own
    __OW_MEMORY_STATE           where to keep the latest memory reading, else in a new folder

While an action runs, the file that `__OW_MEMORY_STATE` names holds the latest memory reading, and
the reply to `/run` carries the peak in the header `X-Disdel-Peak-Memory-Bytes`. When the action
enters the critical region of its limit, the monitor

- sets `critical` in that file, for the action and the platform to see;
- writes a line to the activation's log, on stderr;
- publishes the warning for the memory agent, if the action's parameters `redis` and `memory_grant`
  are a Redis URL and the right to ask (disdel/protocol/memory_grant.py), and memory_warning.py
  lies beside this file. The embedded platform reads the file instead and leaves that module out;
- has the reply, whatever its status, carry `X-Disdel-Memory-Critical: 1`.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import ctypes
import functools
import gc
import importlib
import io
import json
import lzma
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from socketserver import TCPServer
from typing import IO, ClassVar, cast

from container_memory import (
    STATE_ENV,
    MemoryMonitor,
    MemoryUse,
    critical_line,
    critical_region_bytes,
    find_cgroup,
    read_memory,
)

try:
    import container_mounts
except ImportError:
    container_mounts = None  # type: ignore[assignment]

try:
    import memory_warning
except ImportError:
    memory_warning = None  # type: ignore[assignment]

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
LOG_MARK_ENV = "DISDEL_LOG_MARK"
PEAK_HEADER = "X-Disdel-Peak-Memory-Bytes"
CRITICAL_HEADER = "X-Disdel-Memory-Critical"
REPLY_FIELD_ENV = "DISDEL_MEMORY_REPLY_FIELD"

# How long a client may be connected without a word.
SILENCE_S = 60

# Of a file in an action's zip that is worth a thread.
LARGE_BYTES = 1 << 20
# What an archive may unpack to: more than a virtualenv of code has, far less than a bomb.
MAX_UNPACKED_BYTES = 512 << 20
MAX_UNPACKED_FILES = 20_000

ALREADY_INITIALIZED = "Cannot initialize the action more than once."
NO_CODE = "Missing main/no code to execute."
NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
CANNOT_START = "Cannot start action. Check logs for details."
NOT_INITIALIZED = "no action defined yet"
EXITED = "command exited"
EXITED_IN_INIT = "Command exited abruptly during initialization."
ENTRY_FILE = "main__.py"
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


class InitError(Exception):
    """The code cannot become an action; `reply` says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


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
            return failed.reply
        return Reply(200, b'{"ok":true}')

    def run(self, body: bytes) -> Reply:
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


def unpack(code: str, *, binary: bool, bom: bool = True) -> None:
    """Lay the action's files into a new folder and make that the working directory.

    Args:
        code: source, or a zip in base64.
        binary: which of them.
        bom: whether source may begin with a byte order mark.

    Raises:
        InitError: the archive is not one, or has no entry file.
    """
    if code.startswith("\ufeff") and not bom:
        raise InitError(failure(502, NO_BINARY))
    folder = Path(tempfile.mkdtemp(prefix="action-"))
    if binary:
        try:
            archive = base64.b64decode(code, validate=True)
        except binascii.Error as error:
            raise InitError(failure(400, f"cannot decode the request: {error}")) from None
        try:
            extract(io.BytesIO(archive), folder)
        except ArchiveError as error:
            sys.stderr.write(f"{error}\n")
            raise InitError(failure(502, NO_BINARY)) from None
        entry = folder / "__main__.py"
        if not entry.is_file():
            sys.stderr.write("Zip file does not include __main__.py\n")
            raise InitError(failure(502, NO_BINARY))
        entry.rename(folder / ENTRY_FILE)
    else:
        (folder / ENTRY_FILE).write_text(code, encoding="utf-8")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    if Path("requirements.txt").is_file() and not Path("virtualenv").is_dir():
        install_requirements(folder / "requirements")


class ArchiveError(Exception):
    """A zip is damaged, or is more than an action may have; the message says which."""


def extract(archive: IO[bytes], folder: Path) -> None:
    """Unpack a zip, its large files at the same time: zlib works outside of Python's lock.

    Raises:
        ArchiveError: it names files outside of `folder`, or has too many files or bytes, and
            nothing is written; or it is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            # Of two of one name, the later counts.
            members = {member.filename: member for member in bundle.infolist()}
            check(bundle.infolist())
            write(bundle, list(members.values()), folder)
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
        # An encrypted one, an unknown compression; a path that is a file and a folder.
        *(RuntimeError, NotImplementedError, ValueError, OSError),
    ) as error:
        raise ArchiveError(f"Zip file cannot be unpacked: {error}") from None


def check(members: list[zipfile.ZipInfo]) -> None:
    """That an archive may be written; no more is read of a file than the size that it says."""
    if len(members) > MAX_UNPACKED_FILES:
        raise ArchiveError(
            f"Zip file has {len(members)} files, more than the {MAX_UNPACKED_FILES} allowed."
        )
    size = sum(member.file_size for member in members)
    if size > MAX_UNPACKED_BYTES:
        raise ArchiveError(
            f"Zip file unpacks to {size} bytes, more than the {MAX_UNPACKED_BYTES} allowed."
        )
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts:
            raise ArchiveError(f"Zip file has a file outside of its folder: {member.filename!r}")


def write(bundle: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> None:
    large = [member for member in members if member.file_size >= LARGE_BYTES]
    small = [member for member in members if member.file_size < LARGE_BYTES]
    for member in large:
        # Two threads that make the same folder would be in each other's way.
        (folder / member.filename).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        unpacked = [
            threads.submit(bundle.extract, member, folder)
            for member in sorted(large, key=lambda member: -member.file_size)
        ]
        bundle.extractall(folder, small)
        for one in unpacked:
            one.result()


def install_requirements(target: Path) -> None:
    """Install what `requirements.txt` names, as OpenWhisk's runtime does where pip is at hand.

    Raises:
        InitError: pip failed, or the image has none.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--target", str(target), "--requirement", "requirements.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        raise InitError(failure(502, NO_BINARY))
    sys.path.insert(1, str(target))


def load(entry: str) -> Callable[[object], object]:
    """Import the action, which runs its top level, and return its entry function.

    Raises:
        InitError: the import failed, or has no such name.
    """
    try:
        activate_virtualenv()
        with collecting_nothing():
            main: object = getattr(importlib.import_module("main__"), entry)
    except SyntaxError as error:
        traceback.print_exc()
        # Apache's image compiles the entry file before it starts it.
        compiled = Path(error.filename or "").name != ENTRY_FILE
        raise InitError(failure(502, CANNOT_START if compiled else NO_BINARY)) from None
    except BaseException as error:  # a sys.exit at the top level must be answered as well
        traceback.print_exc()
        if isinstance(error, SystemExit):
            sys.stderr.write(f"{EXITED_IN_INIT}\n")
        raise InitError(failure(502, CANNOT_START)) from None
    # What is no function fails when it is called, as an error of the application.
    return cast("Callable[[object], object]", main)


def activate_virtualenv() -> None:
    """Use the packages of a `virtualenv` folder in the bundle, as OpenWhisk's runtime does."""
    if Path("virtualenv").is_dir():
        script = Path("virtualenv/bin/activate_this.py").resolve()
        exec(compile(script.read_bytes(), script, "exec"), {"__file__": str(script)})


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


class Handler(BaseHTTPRequestHandler):
    """One request; connections are not reused, since the platform never does."""

    protocol_version = "HTTP/1.1"
    # Whether the connection ends with the answer.
    closes = True
    # For each part of a request. All others wait for one whose client does not go on.
    timeout: ClassVar[float | None] = 10.0
    # Head and body leave in one segment; two of them would wait for each other's acknowledgement.
    wbufsize = -1
    runner: ActionRunner

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        routes = {"/init": self.runner.init, "/run": self.runner.run}
        serve = routes.get(self.path)
        self.answer(serve(body) if serve else failure(404, "Not found."))

    def do_GET(self) -> None:
        self.answer(failure(404, "Not found."))

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        body = reply.body + self.runner.end_of_reply
        self.send_header("Content-Length", str(len(body)))
        if self.closes:
            self.send_header("Connection", "close")
        for name, text in reply.headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)
        if reply.ends:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            # Threads that the action left running must not keep the container alive.
            os._exit(1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Say nothing: both streams belong to the action."""


class PairHandler(Handler):
    """All the requests of the one connection that there is."""

    closes = False
    timeout = None


class Server(HTTPServer):
    # An action's own subprocesses must not hold the port, and the platform may send its requests
    # while modules are still being imported.
    request_queue_size = 64

    def server_bind(self) -> None:
        """Bind without the reverse name look-up of HTTPServer, which can take seconds."""
        TCPServer.server_bind(self)

    def server_activate(self) -> None:
        """Listen; a client that says nothing is not even accepted, where the kernel can do that."""
        super().server_activate()
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENCE_S)

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is no reason to write into the action's log."""


def open_server(port: int, descriptor: int | None) -> Callable[[], None]:
    """Take requests from now on; what is returned serves them.

    Args:
        port: to listen on, of all interfaces.
        descriptor: instead, an inherited socket: a listening one, or one end of a connected pair,
            which then is served until the other end is closed.
    """
    if descriptor is None:
        return Server(("0.0.0.0", port), Handler).serve_forever
    inherited = socket.socket(fileno=descriptor)
    # An action's own subprocesses must not hold it.
    inherited.set_inheritable(False)
    if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return functools.partial(serve_pair, inherited)
    server = Server(inherited.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = inherited
    return server.serve_forever


def serve_pair(end: socket.socket) -> None:
    """Serve one end of a pair of sockets until the other one is closed."""
    with contextlib.suppress(OSError):
        PairHandler(end, ("", 0), None)  # type: ignore[arg-type]  # there is no server


def end_at_once_on(*numbers: signal.Signals) -> None:
    """Have these signals end this process, as a stopped container or Ctrl-C asks for.

    Process 1 of a container has no default action for them, and Python's own handlers wait until
    the C code of a framework's import or of a training step returns. Where the C library can be
    called, its `_exit` is the handler: the status is then the signal's number.
    """
    import ctypes

    for number in numbers:
        # Also keeps asyncio, in an action, from taking SIGINT over.
        signal.signal(number, lambda number, _: os._exit(number))
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.signal(int(number), ctypes.cast(library._exit, ctypes.c_void_p))


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if not sys.platform.startswith("linux"):
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs: so they stay part of the container."""
    if sys.platform.startswith("linux"):
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


@contextlib.contextmanager
def collecting_nothing() -> Iterator[None]:
    """Import inside, without Python's search for cycles among objects that all stay.

    It takes a seventh of TensorFlow's import and a quarter of PyTorch's; later searches leave these
    objects out.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def diverted(output: IO[bytes]) -> Iterator[None]:
    """Have `output` get what is written to stdout and stderr inside, by C code too."""
    with contextlib.ExitStack() as after:
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            saved = os.dup(descriptor)
            after.callback(os.close, saved)
            after.callback(os.dup2, saved, descriptor)
            after.callback(stream.flush)
            os.dup2(output.fileno(), descriptor)
        yield


def preimport(modules: str, without: str) -> None:
    """Import `modules`; those in `without` cannot be imported meanwhile.

    What is written here would open the first activation's log: it is, where an import fails.
    """
    hidden = [name for name in without.split(",") if name and name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails
    with collecting_nothing():
        for name in filter(None, modules.split(",")):
            with tempfile.TemporaryFile() as output:
                with diverted(output):
                    try:
                        importlib.import_module(name)
                        continue
                    except Exception:
                        # The action may not need it; if it does, its own import fails like this.
                        traceback.print_exc()
                output.seek(0)
                log(output.read().decode(errors="backslashreplace"))
    for name in hidden:
        del sys.modules[name]


def unpack_only(archive: str, folder: str) -> None:
    """For a proxy of another language."""
    try:
        with Path(archive).open("rb") as file:
            extract(file, Path(folder))
    except ArchiveError as error:
        sys.exit(str(error))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve one OpenWhisk action.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--fd", type=int, help="an inherited socket instead of a port: listening, or one of a pair"
    )
    parser.add_argument("--unpack", nargs=2, metavar=("ZIP", "FOLDER"), help="only unpack a zip")
    options = parser.parse_args()
    if options.unpack:
        unpack_only(*options.unpack)
        return
    if container_mounts is not None:
        container_mounts.enter()
    end_at_once_on(signal.SIGTERM, signal.SIGINT)
    if parent_pid := os.environ.pop("DISDEL_PARENT_PID", None):
        end_with_parent(int(parent_pid))
    if os.environ.pop("DISDEL_ADOPT_ORPHANS", None):
        adopt_orphans()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    Handler.runner = ActionRunner(critical_region_bytes(), Streams())
    if STATE_ENV not in os.environ:
        os.environ[STATE_ENV] = str(Path(tempfile.mkdtemp(prefix="proxy-")) / "memory.json")
    serve = open_server(options.port, options.fd)
    modules = os.environ.pop("DISDEL_PREIMPORT", "")
    preimport(modules, os.environ.pop("DISDEL_PREIMPORT_WITHOUT", ""))
    serve()


if __name__ == "__main__":
    main()
