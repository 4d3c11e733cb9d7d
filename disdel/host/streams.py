"""Standard output and error that hold whatever they are joined to.

They may be closed, a pipe whose reader has gone, a full disk, or a terminal that knows ASCII alone.
What is written is never a `UnicodeError`. Where standard output cannot be written that is an
`OutputLost`, which only those commands die of whose output is their purpose; nothing depends on
standard error. Names, errors and logs come from others: what would steer the terminal is written as
text.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import sys
from typing import TextIO

from disdel.errors import DisdelError

# Where the encoding lacks them.
_PLAIN = {"×": "x", "·": "*", "…": "...", "–": "-", "“": '"', "”": '"'}  # noqa: RUF001
_ERRORS = "disdel-plain"
# Controls but tab and newline, and what turns the direction of text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class OutputLost(DisdelError):
    """Standard output cannot be written.

    Attributes:
        reader_left: whether it is a pipe that nobody reads any more, as of `| head`.
    """

    kind = "output"

    def __init__(self, error: OSError) -> None:
        self.reader_left = error.errno == errno.EPIPE
        why = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
        super().__init__(
            f"standard output cannot be written ({why}): join it to something that takes it, or "
            "write to a file with --json FILE where there is that option"
        )


def printable(text: str) -> str:
    """`text` with escapes for what would steer a terminal, but for tabs and line breaks."""
    return _STEERING.sub(_named, text.replace("\r\n", "\n"))


def on_one_line(text: str) -> str:
    """As `printable`, with escapes for those too: a name begins no line of its own."""
    return re.sub("[\t\n\x85\u2028\u2029]", _named, printable(text))


def _named(steering: re.Match[str]) -> str:
    return steering[0].encode("unicode_escape").decode()


class _Printable(io.TextIOWrapper):
    """A stream that is written as text."""

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)


class _Output(_Printable):
    """Standard output, whose failures are told as such."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputLost(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputLost(error) from error


class _Error(_Printable):
    """Standard error: what cannot be written there is dropped, and the work goes on."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def open_streams() -> None:
    """Make the three standard streams usable; once, before anything else is opened.

    Descriptors that are closed are taken by files that cannot be read or written, or the next file
    that the program opens would become its standard output.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # It gets the lowest number that is free.
    codecs.register_error(_ERRORS, _plain)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    encoding, buffered = "utf-8", True
    if sys.stdout is None:
        binary = open(1, "wb", closefd=False)  # noqa: SIM115
    else:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        encoding, buffered = sys.stdout.encoding, not sys.stdout.line_buffering
        binary = sys.stdout.detach()
    sys.stdout = _Output(binary, encoding, _ERRORS, line_buffering=not buffered)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stderr, io.TextIOWrapper):
        encoding = sys.stderr.encoding
        sys.stderr = _Error(sys.stderr.detach(), encoding, _ERRORS, line_buffering=True)


def terminal() -> TextIO:
    """Standard error for what does steer the terminal, and makes its own text printable."""
    if not isinstance(sys.stderr, _Printable):
        return sys.stderr
    return io.TextIOWrapper(
        open(2, "wb", closefd=False), sys.stderr.encoding, _ERRORS, line_buffering=True
    )


def flush_output() -> None:
    """Write what is still to be written; of standard error, what can be.

    Raises:
        OutputLost: standard output cannot be written; nobody tries again.
    """
    try:
        sys.stderr.flush()
        sys.stderr.buffer.flush()
    except (OSError, ValueError):
        _give_up(2)
    try:
        sys.stdout.flush()
    except OutputLost:
        _give_up(1)
        raise


def _give_up(descriptor: int) -> None:
    """Python flushes once more when it ends, and would tell of a failure with a code of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def forget_output() -> None:
    """Drop what is still to be written, which could not be; what comes later is tried."""
    joined = os.dup(1)
    _give_up(1)
    sys.stdout.flush()
    os.dup2(joined, 1)
    os.close(joined)


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, on standard error, if that can still be written."""
    with contextlib.suppress(OSError, ValueError, OutputLost):
        print(line, file=stream or sys.stderr, flush=True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or _escaped(char) for char in lacking), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode()
