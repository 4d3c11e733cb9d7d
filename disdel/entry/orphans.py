"""The end of a pool's worker whose pool is gone: nobody gives it a call any more."""

from __future__ import annotations

import os
import sys
import threading


def end_with_parent() -> None:
    """End this process with the one that made it as a worker, if that was `multiprocessing`.

    A worker of a pool waits for its next call at a pipe that its fellows hold open, so it does not
    notice that the program is gone that would send one: killed, say.
    """
    process = sys.modules.get("multiprocessing.process")
    parent = None if process is None else process.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: object) -> None:
    parent.join()  # type: ignore[attr-defined]
    os._exit(1)
