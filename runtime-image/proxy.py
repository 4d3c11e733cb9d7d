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
                                only the embedded platform lays beside this file, as it does
                                container_forks.py, for the option --forks
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
import contextlib
import ctypes
import functools
import importlib
import io
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import IO, ClassVar

from container_memory import STATE_ENV, critical_region_bytes

from proxy_code import ArchiveError, collecting_nothing, extract
from proxy_runner import ActionRunner, Reply, Streams, failure, log

try:
    import container_forks
    import container_mounts
except ImportError:
    container_forks = container_mounts = None  # type: ignore[assignment]

# How long a client may be connected without a word.
SILENCE_S = 60


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
        """Send a reply, and end the process where it says so."""
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


def imported_for_all(modules: str) -> list[str]:
    """In the process that containers are forked off: import what they will, and what they would at
    the first use; those that could not be imported.
    """
    end_with_parent(int(os.environ.pop("DISDEL_PARENT_PID")))
    needed = os.environ.get("DISDEL_PREIMPORT", "")
    without = os.environ.get("DISDEL_PREIMPORT_WITHOUT", "")
    preimport(f"{needed},{modules}", without)
    return [name for name in filter(None, needed.split(",")) if name not in sys.modules]


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
    parser.add_argument(
        "--forks", type=int, metavar="FD", help="import first, and fork a container an order"
    )
    parser.add_argument("--preload", default="", help="what else to import before that")
    options = parser.parse_args()
    if options.unpack:
        unpack_only(*options.unpack)
        return
    if options.forks is not None:
        # Returns in the containers alone.
        options.fd = container_forks.serve(options.forks, imported_for_all(options.preload))
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
