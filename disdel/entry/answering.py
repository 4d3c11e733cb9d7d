"""Answers requests of `protocol/calls.py` in a worker of somebody else's."""

from __future__ import annotations

import base64
import functools
import io
import os
import platform
import shutil
import sys
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disdel.entry.admission import Admission
from disdel.entry.containers import ENFORCEMENT, Containers, Wanted
from disdel.entry.orphans import end_with_parent
from disdel.errors import RequestRefused
from disdel.protocol.calls import CALLS_VERSION, LIBRARY, code_digest, own_digest
from openwhisk_local.machine.container_memory import own_cgroup
from openwhisk_local.machine.cpus import usable_cpus

# Code that lies unpacked at the same time.
_MOST_CODES = 8
# Nothing that is sent unpacks to more.
_MOST_BYTES = 2 << 30


class Refused(Exception):
    """A request that is not done as asked.

    Attributes:
        status: in HTTP's numbers.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(eq=False)
class Answering:
    """What answers in this process.

    Attributes:
        containers: its children.
        library: the folder of the library that it was deployed with, for actions that come
            without one.
        facts: what else `hello` tells.
        admission: what calls must pass, where they are to be signed.
    """

    containers: Containers
    library: Path | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    admission: Admission | None = None
    # Where each lies, and the digest of what is a run's own in it.
    _codes: OrderedDict[str, tuple[Path, str]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply; nothing is raised."""
        try:
            return {"disdel": CALLS_VERSION, **self._done(request)}
        except RequestRefused as refused:
            return {"disdel": CALLS_VERSION, **_refusal(request, refused)}
        except Refused as refused:
            sentence, status = str(refused), refused.status
        except Exception as error:  # Whoever asks is to be told, whatever it is.
            sentence, status = f"{type(error).__name__}: {error}", 500
        return {"disdel": CALLS_VERSION, "refused": sentence, "status": status}

    def _done(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(request, Mapping) or "disdel" not in request:
            raise Refused("this is no request of disdel's")
        if request["disdel"] != CALLS_VERSION:
            raise Refused(f"{_newer(request['disdel'])}, so that both speak the same", 409)
        match request.get("do"):
            case "hello":
                return self._hello()
            case "call":
                return self._call(request)
            case "forget":
                self.containers.forget(str(request["prefix"]))
                return {}
        raise Refused(f"there is no such request as {str(request.get('do'))[:40]!r}")

    def _hello(self) -> dict[str, Any]:
        import disdel

        return {
            "version": getattr(disdel, "__version__", ""),
            "library": "",
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "machine": platform.machine().lower(),
            "host": _host(),
            "cpus": usable_cpus(),
            "memory_mb": _memory_mb(),
            "enforcement": ENFORCEMENT,
            "time": time.time(),
            **self.facts,
        }

    def _call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        digest = str(request["digest"])
        if self.admission is not None:
            self.admission.check(request["arguments"])
        folder = self._code(digest, request.get("code"), request["arguments"])
        if folder is None:
            return {"wants": digest}
        record = self.containers.run(
            Wanted(
                key=request["key"],
                action=request["action"],
                folder=folder,
                memory_mb=request["memory_mb"],
            ),
            request["arguments"],
            activation_id=request["activation_id"],
            timeout_s=request["timeout_s"],
            reply_bytes=request["reply_bytes"],
            room_mb=request["room_mb"],
        )
        return {"activation_id": request["activation_id"], **record}

    def _code(self, digest: str, sent: str | None, arguments: Mapping[str, object]) -> Path | None:
        """The folder of code, which may have come along; None where there is none."""
        with self._lock:
            folder, own = self._codes.get(digest, (None, ""))
            if folder is not None and folder.is_dir():
                if self.admission is not None:
                    self.admission.check_code(arguments, own)
                self._codes.move_to_end(digest)
                return folder
            if sent is None:
                return None
            code = base64.b64decode(sent)
            if code_digest(code) != digest:
                raise Refused("the code that was sent is not what its digest says: it was cut")
            _check_size(code)
            if self.admission is not None:
                own = own_digest(code)
                self.admission.check_code(arguments, own)
            folder = self.containers.folder / f"code-{digest[:16]}"
            self._unpack(code, folder)
            self._codes[digest] = (folder, own)
            while len(self._codes) > _MOST_CODES:
                _, (oldest, _) = self._codes.popitem(last=False)
                shutil.rmtree(oldest, ignore_errors=True)
            return folder

    def _unpack(self, code: bytes, folder: Path) -> None:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            partial = folder.with_suffix(".new")
            shutil.rmtree(partial, ignore_errors=True)
            archive.extractall(partial)
        if self.library is not None:
            # As in a bundle: the library looks for a run's own files beside itself.
            for package in LIBRARY:
                there = partial / package
                shutil.copytree(
                    self.library / package, there, copy_function=_link, dirs_exist_ok=True
                )
        partial.rename(folder)


def _check_size(code: bytes) -> None:
    """Raises `Refused` where code would fill the disk."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise Refused("the code unpacks to more than 2 GiB", 413)


def _refusal(request: Mapping[str, Any], refused: RequestRefused) -> dict[str, Any]:
    """The record of a call that is not done, as an action refuses one; nobody signs it."""
    return {
        "activation_id": request["activation_id"],
        "ending": "application-error",
        "result": {"error": {"kind": refused.kind, "message": str(refused)}},
        "start_ms": round(time.time() * 1000),
        "duration_ms": 0,
        "init_ms": None,
        "logs": [],
    }


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, mostly.
        shutil.copy2(source, target)


def _newer(theirs: object) -> str:
    """Which side is to be updated."""
    side = "there" if isinstance(theirs, int) and theirs < CALLS_VERSION else "here"
    return (
        f"the request is of version {theirs!s:.10} and this entry of {CALLS_VERSION}: update "
        f"disdel {'where the request comes from' if side == 'there' else 'where this entry runs'}"
    )


def _memory_mb() -> int:
    """What this process and its children may use together, by its cgroup, else of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cgroup = own_cgroup()
    try:
        limit = None if cgroup is None else cgroup.limit_bytes()
    except (OSError, ValueError):
        limit = None
    return (machine if limit is None else min(limit, machine)) >> 20


def _host() -> str:
    """What tells one machine from another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


@functools.cache
def for_process(process: int) -> Answering:  # noqa: ARG001 - a fork has children of its own
    """What answers in the process of that id, whose workers have disdel installed."""
    end_with_parent()
    return Answering(Containers())
