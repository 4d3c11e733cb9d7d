"""The process of an action: takes calls, one line of JSON each, and answers each by one.

usage: container.py ACTION FOLDER

Calls come from standard input. What the action prints goes where standard error goes. The first
line says whether the action is loaded. The process ends with the one that has started it, and
removes then what that one has left.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

_LOOK_S = 0.5
# What begins the names of the folders that the starting process may have left.
SCRATCH = "disdel-calls-"


def serve(action: str, folder: Path) -> None:
    """Answer calls of the action that lies in `folder` until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    caller = _beside("call")
    try:
        caller.load(action, folder)
    except BaseException:
        traceback.print_exc()
        _say(answers, {"started": False})
        return
    _say(answers, {"started": True})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        _say(answers, {"result": caller.call(action, root=folder, **asked)})


def _say(answers: BinaryIO, fields: dict[str, object]) -> None:
    sys.stdout.flush()
    answers.write(json.dumps(fields).encode() + b"\n")
    answers.flush()


def _beside(name: str) -> ModuleType:
    """A module of this folder, whichever library the action has."""
    file = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"disdel_entry_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _end_with(parent: int, folders: Path) -> None:
    """End this process once its parent has, also in the middle of a call.

    What that one has in `folders` is removed.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    try:
        from openwhisk_local.machine.scratch import sweep

        sweep(SCRATCH, folders)
    finally:
        os._exit(1)


def main() -> None:
    action, folder = sys.argv[1:]
    sys.path.insert(0, folder)
    # It starts in a folder of its own, in that of its parent.
    lasting = (os.getppid(), Path.cwd().parents[1])
    watch = threading.Thread(target=_end_with, args=lasting, daemon=True)
    watch.start()
    serve(action, Path(folder))
    # There are no more calls since that one has ended, or is about to end this process.
    watch.join()


if __name__ == "__main__":
    main()
