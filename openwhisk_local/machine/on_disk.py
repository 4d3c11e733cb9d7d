"""What a process keeps and rarely looks at: on disk, and not in its memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from typing import ClassVar


class OnDisk:
    """Bytes in a file without a name, in the folder for temporary files; gone with this object.

    Where that has no room for them, or so many are on disk that the process may want its
    descriptors for something else, they stay in memory.

    Args:
        data: what is kept; a few bytes stay in memory as well.

    Attributes:
        size: of them, in bytes.
    """

    # Of less, a file is more trouble than it is worth.
    _WORTH_BYTES = 1 << 20
    # Of the 1,024 descriptors that a process usually has; whoever makes actions may make many.
    _MOST = 128
    _open: ClassVar[weakref.WeakSet[OnDisk]] = weakref.WeakSet()

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data: bytes | None = data
        if len(data) < self._WORTH_BYTES or len(self._open) >= self._MOST:
            return
        with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
            file = undo.enter_context(tempfile.TemporaryFile(buffering=0))
            written = 0
            while written < len(data):
                written += os.write(file.fileno(), memoryview(data)[written:])
            self._descriptor, self._data = file.fileno(), None
            weakref.finalize(self, undo.pop_all().close)
            self._open.add(self)

    def read(self) -> bytes:
        """All of them.

        Raises:
            OSError: the disk does not give them back.
        """
        if self._data is not None:
            return self._data
        found = b""
        while len(found) < self.size:
            part = os.pread(self._descriptor, self.size - len(found), len(found))
            if not part:
                raise OSError(f"of {self.size} bytes on disk, {len(found)} are left")
            found += part
        return found
