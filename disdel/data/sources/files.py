"""One view of a file, a folder and a zip archive: relative names that can be opened.

Archives are read in place and never unpacked.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from disdel.data.sources.room import BoundedGzip, check_room
from disdel.errors import DatasetError

_ENCRYPTED = 0x1  # in a zip member's flags
_METHODS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "lzma",
}
_OTHER_METHODS = {9: "deflate64", 93: "zstandard", 95: "xz", 96: "jpeg", 98: "ppmd", 99: "AES"}
_MOST_FILES = 5_000_000
_MOST_SAID = 300
# What reading a file that is damaged, or made to harm, may end in.
_DAMAGED = (
    ArithmeticError,
    EOFError,
    IndexError,
    RecursionError,
    ValueError,
    csv.Error,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class FileTree(Protocol):
    """Files below a common root.

    Attributes:
        label: the root, for messages.
        names: the files' names relative to the root, with forward slashes, sorted; hidden files
            and what systems leave in folders are not among them.
        hidden: the names of hidden files.
    """

    @property
    def label(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def hidden(self) -> tuple[str, ...]: ...

    def open(self, name: str) -> IO[bytes]:
        """Open one of `names` for reading; the caller closes it."""
        ...


class Folder:
    """A folder, or only the files `names` of it."""

    def __init__(self, root: Path, names: tuple[str, ...] | None = None) -> None:
        self._root = root
        self.label = str(root)
        self.hidden: tuple[str, ...] = ()
        if names is None:
            found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
            files = [*islice(found, _MOST_FILES + 1)]
            if len(files) > _MOST_FILES:
                raise DatasetError(f"{root} holds more than {_MOST_FILES:,} files; name a folder")
            names = _names(files, visible=True)
            self.hidden = _names(files, visible=False)
        self.names = names

    def open(self, name: str) -> IO[bytes]:
        """A file of the folder, to be read.

        Raises:
            DatasetError: it is a device or a pipe, or larger than there is room for.
        """
        path = self._root / name
        if not path.is_file():
            raise DatasetError(f"{path} is neither a file nor a folder, but a device or a pipe")
        check_room(path.stat().st_size, str(path))
        return path.open("rb")


class ZipFolder:
    """The files of a zip archive."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self.label = str(path)
        members: dict[PurePosixPath, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            parts = PurePosixPath(info.filename)
            if parts.is_absolute() or ".." in parts.parts or "\\" in info.filename:
                raise DatasetError(
                    f"{path}: refused, its member {info.filename!r} leads outside of it"
                )
            if info.flag_bits & _ENCRYPTED:
                raise DatasetError(f"{path} is encrypted; import it unpacked")
            if info.compress_type not in _METHODS:
                method = _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
                raise DatasetError(
                    f"{path}: {info.filename!r} is compressed by {method}, which cannot be read "
                    f"here ({', '.join(_METHODS.values())} can); import it unpacked"
                )
            if not info.is_dir():
                members[parts] = info
        self._members = {parts.as_posix(): info for parts, info in members.items()}
        self.names = _names(members, visible=True)
        self.hidden = _names(members, visible=False)

    def open(self, name: str) -> IO[bytes]:
        info = self._members[name]
        check_room(info.file_size, f"{self.label}/{name}")
        return self._archive.open(info)


class Below:
    """What lies below one folder of another tree."""

    def __init__(self, tree: FileTree, prefix: str) -> None:
        self._tree, self._prefix = tree, prefix
        self.label = f"{tree.label}/{prefix.rstrip('/')}"
        self.names = tuple(name.removeprefix(prefix) for name in tree.names)
        self.hidden = tree.hidden

    def open(self, name: str) -> IO[bytes]:
        return self._tree.open(self._prefix + name)


@contextmanager
def open_tree(path: Path) -> Iterator[FileTree]:
    """The files at `path`: a folder's, a zip archive's, or the one file itself.

    Raises:
        DatasetError: there is nothing at `path`, it cannot be read, or the archive is damaged.
    """
    try:
        if path.is_dir():
            yield Folder(path)
        elif not path.exists():
            raise DatasetError(f"there is no file or folder {path}")
        elif not path.is_file():
            raise DatasetError(f"{path} is neither a file nor a folder, but a device or a pipe")
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield ZipFolder(archive, path)
        else:
            yield Folder(path.parent, (path.name,))
    except MemoryError as error:
        raise DatasetError(f"{path} takes more memory than this host has free") from error
    except (gzip.BadGzipFile, *_DAMAGED) as error:
        why = first_line(error)
        raise DatasetError(f"{path} is damaged or not what its name says: {why}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its kind where it says nothing."""
    said = str(error).strip().partition("\n")[0]
    return said[:_MOST_SAID] or type(error).__name__


@contextmanager
def open_maybe_gzipped(tree: FileTree, name: str) -> Iterator[IO[bytes]]:
    """Open `name`, uncompressed if it ends in `.gz`."""
    with tree.open(name) as raw:
        if name.lower().endswith(".gz"):
            with BoundedGzip(raw, f"{tree.label}/{name}") as unpacked:
                # It reads as any binary file does; typeshed gives it a class of its own.
                yield cast("IO[bytes]", unpacked)
        else:
            yield raw


# What operating systems put into folders and archives, and nobody means.
_CLUTTER = ("thumbs.db", "desktop.ini", ".ds_store", "__macosx")


def _names(paths: Iterable[Path | PurePosixPath], *, visible: bool) -> tuple[str, ...]:
    """The files that are visible, or those that someone has hidden; sorted."""
    return tuple(
        sorted(
            path.as_posix()
            for path in paths
            if not _is_clutter(path) and visible is not any(p.startswith(".") for p in path.parts)
        )
    )


def _is_clutter(path: Path | PurePosixPath) -> bool:
    return any(part.lower() in _CLUTTER or part.startswith("._") for part in path.parts)
