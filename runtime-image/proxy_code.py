"""The action's code: unpacked into a folder of its own, and imported. Part of the proxy.

Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gc
import importlib
import io
import lzma
import os
import struct
import subprocess
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, cast

# Of a file in an action's zip that is worth a thread.
LARGE_BYTES = 1 << 20
# What an archive may unpack to: more than a virtualenv of code has, far less than a bomb.
MAX_UNPACKED_BYTES = 512 << 20
MAX_UNPACKED_FILES = 20_000

NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
CANNOT_START = "Cannot start action. Check logs for details."
EXITED_IN_INIT = "Command exited abruptly during initialization."
ENTRY_FILE = "main__.py"


class InitError(Exception):
    """The code cannot become an action; `status` and the message are what `/init` answers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        raise InitError(502, NO_BINARY)
    folder = Path(tempfile.mkdtemp(prefix="action-"))
    if binary:
        try:
            archive = base64.b64decode(code, validate=True)
        except binascii.Error as error:
            raise InitError(400, f"cannot decode the request: {error}") from None
        try:
            extract(io.BytesIO(archive), folder)
        except ArchiveError as error:
            sys.stderr.write(f"{error}\n")
            raise InitError(502, NO_BINARY) from None
        entry = folder / "__main__.py"
        if not entry.is_file():
            sys.stderr.write("Zip file does not include __main__.py\n")
            raise InitError(502, NO_BINARY)
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
    """That an archive may be written; no more is read of a file than the size that it says.

    Raises:
        ArchiveError: it has too many files, or too large ones, or one outside of its folder.
    """
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
    """Unpack the members of an archive, the large ones in several threads."""
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
        raise InitError(502, NO_BINARY)
    sys.path.insert(1, str(target))


def load(entry: str) -> Callable[[object], object]:
    """Import the action, which runs its top level, and return its entry function.

    Raises:
        InitError: the import failed, or has no such name.
    """
    # The action's folder is this container's alone, which imports each module once.
    sys.dont_write_bytecode = True
    try:
        activate_virtualenv()
        with collecting_nothing():
            main: object = getattr(importlib.import_module("main__"), entry)
    except SyntaxError as error:
        traceback.print_exc()
        # Apache's image compiles the entry file before it starts it.
        compiled = Path(error.filename or "").name != ENTRY_FILE
        raise InitError(502, CANNOT_START if compiled else NO_BINARY) from None
    except BaseException as error:  # a sys.exit at the top level must be answered as well
        traceback.print_exc()
        if isinstance(error, SystemExit):
            sys.stderr.write(f"{EXITED_IN_INIT}\n")
        raise InitError(502, CANNOT_START) from None
    # What is no function fails when it is called, as an error of the application.
    return cast("Callable[[object], object]", main)


def activate_virtualenv() -> None:
    """Use the packages of a `virtualenv` folder in the bundle, as OpenWhisk's runtime does."""
    if Path("virtualenv").is_dir():
        script = Path("virtualenv/bin/activate_this.py").resolve()
        exec(compile(script.read_bytes(), script, "exec"), {"__file__": str(script)})


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
