"""Run `tfds_process` and wait for it; what it reports as an error is raised here."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from disdel.data.tfds.tasks import Call, Count, Deal, Task
from disdel.errors import DatasetError
from disdel.host.environment import for_children
from disdel.host.helper import run_helper


def run_tfds(task: Task, scratch: Path, *, what: str = "reading the data set") -> None:
    """Carry out `task` in a process of its own.

    Args:
        task: what to do.
        scratch: an existing folder for the messages between the two processes, which nobody needs
            when this one dies.
        what: what it does, for the message when it dies.

    Raises:
        DatasetError: the task failed, or reached a bound on its memory or time; the message is the
            child's, or says how it died.
    """
    scratch = scratch.resolve()  # the user's code may go elsewhere
    fields = {"task": type(task).__name__, **dataclasses.asdict(task)}
    request, answer = scratch / "request.json", scratch / "answer.json"
    request.write_text(json.dumps(fields), encoding="utf-8")
    answer.unlink(missing_ok=True)
    environ = {
        **for_children(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    ended = run_helper(
        [
            *(sys.executable, "-P", "-m", "disdel.data.tfds.process"),
            *(str(request), str(answer)),
        ],
        environ=environ,
        scratch=scratch,
        # A download bounds its own waits, and may take hours.
        bounded=isinstance(task, Call | Deal | Count),
    )
    try:
        error = json.loads(answer.read_text(encoding="utf-8"))["error"]
    except (FileNotFoundError, ValueError):
        error = ended.why(what)
    if error is not None:
        raise DatasetError(str(error))
