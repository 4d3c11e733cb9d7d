"""Containers that are forked off one process, which has imported what all of them need.

The process that imports is the template. It runs no action, knows of no container, and has one
thread, so that a fork of it is whole:

    template --fork--> keeper --fork--> first --fork--> the action proxy
                       outside          1 inside

For each container the template is handed a socket, which it passes to a new keeper without reading
it. The keeper reads the order, unshares the namespaces, and stays outside: it ends the container
when the platform's end of the socket is closed. The first process inside buries what loses its
parent there. The proxy enters its cgroup before it does anything else.

A forked page is shared with the template, and counted where it was first written to. So that a
container's memory is what it would be had it imported by itself, and its limit worth as much, the
proxy makes all such pages its own: 0.5 ms a MB.

Python's hash seed is the template's, the same in all its containers. Standard library only, since
this lies beside the proxy.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

CONTAINER_ENV = "DISDEL_CONTAINER"

_MADV_POPULATE_WRITE = 23
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_NAMESPACES = {"mount": 0x00020000, "user": 0x10000000, "pid": 0x20000000}
_HEAD = struct.Struct("!I")
# Of an entry of /proc/PID/pagemap, eight bytes of this machine's order: the one with these bits.
_TOP_BYTE = 7 if sys.byteorder == "little" else 0
_PRESENT, _OF_A_FILE = 1 << 7, 1 << 5
# "w" for each value of that byte that says that the page was written to.
_STATES = bytes(
    ord("w" if byte & (_PRESENT | _OF_A_FILE) == _PRESENT else "-") for byte in range(256)
)
# Pages that are in use but for four between them are made a process's own in one call.
_WRITTEN_PAGES = re.compile(rb"w+(?:-{1,4}w+)*")


@dataclass(frozen=True)
class Order:
    """A container to be made; beside it travel its stdout, its stderr and its end of the channel.

    Attributes:
        namespaces: to unshare: "pid" and "mount", and "user" for who may not do so else.
        procs: the files to write 0 into to enter its cgroups.
        open_files: the limit on open descriptors.
        env: its environment.
        folder: its working directory.
    """

    namespaces: Sequence[str]
    procs: Sequence[str]
    open_files: int
    env: dict[str, str]
    folder: str

    def to_wire(self) -> bytes:
        body = json.dumps(asdict(self)).encode()
        return _HEAD.pack(len(body)) + body


@dataclass(frozen=True)
class Range:
    """Pages of memory: where they begin, how many bytes, and their protection, of mmap(2)."""

    start: int
    length: int
    protection: int


def serve(descriptor: int, missing: Sequence[str] = ()) -> int:
    """Fork a container for every socket that arrives; return in each, never in the template.

    Args:
        descriptor: a connected socket, on which a line of JSON says first that the template is
            ready, or why there will be none.
        missing: modules that could not be imported.

    Returns:
        The descriptor of the container's end of its channel.
    """
    control = socket.socket(fileno=descriptor)
    # Nobody waits for the keepers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    refusal = f"{', '.join(missing)} cannot be imported" if missing else _unfit()
    control.sendall(json.dumps({"refused": refusal}).encode() + b"\n")
    if refusal:
        sys.exit(0)
    inherited = _private_pages()
    while True:
        _, orders, _, _ = socket.recv_fds(control, 1, 1)
        if not orders:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _become_container(socket.socket(fileno=orders[0]), inherited)
        os.close(orders[0])


def _unfit() -> str:
    """Why no container can be forked off this process; empty where they can."""
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads != 1:
        return f"what was imported has started threads, {threads - 1} beside the first one"
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        try:
            page.madvise(_MADV_POPULATE_WRITE)
        except (OSError, ValueError):
            return "the kernel cannot make pages a process's own (it can from Linux 5.14 on)"
    return ""


def _private_pages() -> list[Range]:
    """The pages that this process has written to, and shares with nobody but its forks."""
    found: list[Range] = []
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        for line in Path("/proc/self/maps").read_text().splitlines():
            bounds, permissions, *rest = line.split()
            if permissions[3] == "p" and not (rest[3:] and rest[3].startswith("[v")):
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                found += _written(pagemap, start, end, _protection(permissions))
    finally:
        os.close(pagemap)
    return found


def _written(pagemap: int, start: int, end: int, protection: int) -> list[Range]:
    """Of the mapping from `start` to `end`."""
    size = mmap.PAGESIZE
    entries = os.pread(pagemap, (end - start) // size * 8, start // size * 8)
    # There are hundreds of thousands, and containers wait: they are looked at by their top bytes.
    states = entries[_TOP_BYTE::8].translate(_STATES)
    return [
        Range(start + run.start() * size, len(run[0]) * size, protection)
        for run in _WRITTEN_PAGES.finditer(states)
    ]


def _protection(permissions: str) -> int:
    flags = {"r": mmap.PROT_READ, "w": mmap.PROT_WRITE, "x": mmap.PROT_EXEC}
    return sum(flags.get(letter, 0) for letter in permissions[:3])


def _become_container(asked: socket.socket, inherited: list[Range]) -> int:
    """In the keeper: make a container; returns in its proxy alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.setsid()
        order, streams = _receive(asked)
        libc = ctypes.CDLL(None, use_errno=True)
        _unshare(libc, order.namespaces)
        first = os.fork()
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            asked.sendall(json.dumps({"failed": str(error)}).encode() + b"\n")
        os._exit(1)
    if first != 0:
        _keep(asked, first, streams)
    asked.close()
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    proxy = os.fork()
    if proxy != 0:
        # It is in no cgroup of the container, which therefore may not make it do anything.
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _bury(proxy, streams)
    return _become_proxy(order, streams, libc, inherited)


def _receive(asked: socket.socket) -> tuple[Order, list[int]]:
    head, streams, _, _ = socket.recv_fds(asked, _HEAD.size, 3)
    with asked.makefile("rb") as file:
        body = file.read(_HEAD.unpack(head)[0])
    return Order(**json.loads(body)), streams


def _unshare(libc: ctypes.CDLL, namespaces: Sequence[str]) -> None:
    user, group = os.getuid(), os.getgid()
    _check(libc.unshare(sum(_NAMESPACES[name] for name in namespaces)), "unshare")
    if "user" in namespaces:
        proc = Path("/proc/self")
        (proc / "setgroups").write_text("deny")
        (proc / "uid_map").write_text(f"{user} {user} 1")
        (proc / "gid_map").write_text(f"{group} {group} 1")


def _keep(asked: socket.socket, first: int, streams: list[int]) -> NoReturn:
    """Wait for the container to end, or end it with the platform."""
    for stream in streams:
        os.close(stream)
    own = os.pidfd_open(os.getpid())
    with contextlib.suppress(OSError):
        said = {"keeper": os.getpid(), "first": first}
        socket.send_fds(asked, [json.dumps(said).encode() + b"\n"], [own])
    os.close(own)
    poll = select.poll()
    poll.register(os.pidfd_open(first), select.POLLIN)
    poll.register(asked, select.POLLIN)
    poll.poll()
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    os._exit(0)


def _bury(proxy: int, streams: list[int]) -> NoReturn:
    for stream in streams:
        os.close(stream)
    while os.wait()[0] != proxy:
        pass
    os._exit(0)


def _become_proxy(
    order: Order, streams: list[int], libc: ctypes.CDLL, inherited: list[Range]
) -> int:
    for procs in order.procs:
        Path(procs).write_text("0")
    stdout, stderr, channel = streams
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, number in ((nothing, 0), (stdout, 1), (stderr, 2)):
        os.dup2(ours, number)
        os.close(ours)
    resource.setrlimit(resource.RLIMIT_NOFILE, (order.open_files, order.open_files))
    _own(libc, inherited)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.env)
    _show_mark(order.env.get(CONTAINER_ENV, ""))
    # What Python and OpenSSL draw numbers from is new after a fork; this is not.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    tempfile.tempdir = None
    sys.argv = [sys.argv[0], "--fd", str(channel)]
    return channel


def _own(libc: ctypes.CDLL, inherited: list[Range]) -> None:
    """Have a copy of these pages for oneself alone."""
    for function in (libc.madvise, libc.mprotect):
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    writable = mmap.PROT_READ | mmap.PROT_WRITE
    for pages in inherited:
        where = (pages.start, pages.length)
        locked = not pages.protection & mmap.PROT_WRITE
        if locked:
            _check(libc.mprotect(*where, writable), "mprotect")
        # Of pages that the template has let go of meanwhile there is nothing to copy.
        _check(libc.madvise(*where, _MADV_POPULATE_WRITE), "madvise", but=errno.ENOMEM)
        if locked:
            _check(libc.mprotect(*where, pages.protection), "mprotect")


def _show_mark(container: str) -> None:
    """Have /proc/PID/environ name the container, where the template's own mark leaves room."""
    with contextlib.suppress(OSError, ValueError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        # Fields 50 and 51 of proc_pid_stat(5); the first two are before the parenthesis.
        start, end = int(fields[47]), int(fields[48])
        entries = ctypes.string_at(start, end - start)
        name = f"{CONTAINER_ENV}=".encode()
        at = entries.index(b"\0" + name) + 1 + len(name)
        room = entries.index(b"\0", at) - at
        if len(container) <= room:
            ctypes.memmove(start + at, container.encode().ljust(room, b"\0"), room)


def _check(result: int, what: str, but: int = 0) -> None:
    if result != 0 and ctypes.get_errno() != but:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
