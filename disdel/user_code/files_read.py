"""Which files some of the user's code has read, so that what came of it is not taken for new.

A result that is kept depends on the files that were opened while it was made, on the folders that
were listed, and on what texts in the code name, since not everything that is opened passes Python.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from disdel.user_code.texts import texts

# A file that was written within this time of a look at it may have been written again since, with
# the same times: file systems' clocks are coarse.
_SETTLED_NS = 2_000_000_000
_BLOCK_BYTES = 1 << 20
# Of larger files only size, times and inode are compared.
_MOST_DIGESTED_BYTES = 1 << 30
_MOST_LISTED = 100_000
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(kind)).resolve())
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)
_NOT_FILES = ("/proc/", "/sys/", "/dev/")


@dataclass(frozen=True, slots=True)
class FileFact:
    """What a file or a folder was.

    Attributes:
        state: size, times of its content and of itself in ns, and inode; empty where there was
            none.
        digest: of the content, or of a folder's listing; empty where it was not read.
        looked_ns: when that was.
    """

    state: tuple[int, ...]
    digest: str
    looked_ns: int

    @classmethod
    def of(cls, path: Path, *, digested: bool, settled: bool = False) -> FileFact:
        """As it is now.

        Args:
            path: of the file or folder.
            digested: whether the content is read, unless it is very large.
            settled: nobody writes it any more, however new it is.
        """
        looked_ns = time.time_ns() + (_SETTLED_NS if settled else 0)
        state = _state(path)
        wanted = digested and state and state[0] <= _MOST_DIGESTED_BYTES
        return cls(state, _digest(path) if wanted else "", looked_ns)

    def holds(self, path: Path) -> bool:
        """Whether it is still the same; the content is read where the times do not tell."""
        state = _state(path)
        if not state or not self.state:
            return state == self.state
        if state == self.state and max(state[1:3]) < self.looked_ns - _SETTLED_NS:
            return True
        return self.digest != "" and _digest(path) == self.digest


class FilesRead:
    """The files that this process and those that it forks read while `watched`."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._written: set[str] = set()
        self._watching = False
        self._process = os.getpid()
        # Where children note what they read.
        self._children = os.memfd_create("files") if hasattr(os, "memfd_create") else None
        # Not when another host's answers went into the result as well.
        self.is_complete = True
        sys.addaudithook(self._hear)

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._watching = True
        try:
            yield
        finally:
            self._watching = False

    def note(
        self, sources: Iterable[bytes], folders: Iterable[Path], leave_out: Iterable[Path] = ()
    ) -> dict[str, Any]:
        """What was read, and what texts in the code name, as it is now: JSON for `still_holds`.

        Args:
            sources: the Python files of the code.
            folders: where a relative name may be looked for.
            leave_out: folders whose files do not count.
        """
        if self._children is not None:
            os.lseek(self._children, 0, os.SEEK_SET)
            with os.fdopen(os.dup(self._children), "rb") as told:
                self._paths.update(map(os.fsdecode, told.read().split(b"\0")[:-1]))
        facts = {path: FileFact.of(Path(path), digested=True) for path in sorted(self._paths)}
        for text in sorted(_texts(sources)):
            for folder in folders:
                # "/", "." and ".." are punctuation more often than folders.
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    path = folder / Path(text).expanduser()
                    if Path(text).name and path.exists():
                        for found in self._below(path.absolute()):
                            # What is below a folder may be a large set.
                            named = FileFact.of(found, digested=found == path.absolute())
                            facts.setdefault(str(found), named)
        for output in self._written - self._paths:
            facts.pop(output, None)
        for folder in leave_out:
            facts = {p: f for p, f in facts.items() if not Path(p).is_relative_to(folder)}
        files = {path: astuple(fact) for path, fact in facts.items()}
        return {"files": files, "is_complete": self.is_complete}

    def _below(self, path: Path) -> Iterator[Path]:
        yield path
        for listed, found in enumerate(path.rglob("*")):
            if listed == _MOST_LISTED:
                self.is_complete = False
                return
            yield found

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, mode, flags = arguments
            reads = "r" in mode if mode else (flags or 0) & os.O_ACCMODE != os.O_WRONLY
            self._note(path, self._paths if reads else self._written)
        elif event in ("os.listdir", "os.scandir", "sqlite3.connect"):
            # An import looks for modules only, which it opens then.
            if not sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
                self._note("." if arguments[0] is None else arguments[0], self._paths)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self.is_complete = False

    def _note(self, path: Any, found: set[str]) -> None:
        # What cannot be understood is no reason to disturb the user's code.
        with contextlib.suppress(OSError, TypeError, ValueError, NotImplementedError):
            name = str(Path(os.fsdecode(path)).absolute())
            if name.endswith(".pyc"):
                name = source_from_cache(name)
            if name.startswith((*_LIBRARIES, *_NOT_FILES)):
                return
            if os.getpid() == self._process:
                found.add(name)
            elif self._children is not None and found is self._paths:
                os.write(self._children, os.fsencode(name) + b"\0")


def still_holds(note: Any) -> bool:
    """Whether all that a note tells of is as it was; not where it cannot be understood."""
    try:
        return bool(note["is_complete"]) and all(
            FileFact(tuple(state), digest, looked_ns).holds(Path(path))
            for path, (state, digest, looked_ns) in note["files"].items()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def named_environment(sources: Iterable[bytes]) -> dict[str, str | None]:
    """The environment variables that code names, and the home folder, with their values."""
    named = {text for text in _texts(sources) if text.isidentifier() and text.isupper()}
    return {name: os.environ.get(name) for name in sorted(named | {"HOME"})}


def _texts(sources: Iterable[bytes]) -> set[str]:
    return {text for source in sources for text in texts(ast.parse(source))}


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        if path.is_dir():
            names = sorted(entry.name for entry in path.iterdir())
            digest.update("\0".join(names).encode(errors="surrogateescape"))
        elif path.is_file():
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
    except OSError as error:
        return f"error {error.errno}"
    return digest.hexdigest()
