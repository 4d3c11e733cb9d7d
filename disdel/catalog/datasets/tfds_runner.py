"""Run `tfds_process` and wait for it; what it reports as an error is raised here."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from disdel.catalog.datasets.tfds_tasks import Task
from disdel.errors import DatasetError


def run_tfds(task: Task, scratch: Path) -> None:
    """Carry out `task` in a process of its own.

    Args:
        task: what to do.
        scratch: an existing folder for the messages between the two processes.

    Raises:
        DatasetError: the task failed; its message is the child's, or the last line of what the
            child wrote when it died.
    """
    fields = {"task": type(task).__name__, **dataclasses.asdict(task)}
    request, answer = scratch / "request.json", scratch / "answer.json"
    request.write_text(json.dumps(fields), encoding="utf-8")
    answer.unlink(missing_ok=True)
    # The child finds this package where this process did, installed or not.
    search_path = (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "disdel.catalog.datasets.tfds_process", str(request), str(answer)],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    try:
        error = json.loads(answer.read_text(encoding="utf-8"))["error"]
    except FileNotFoundError:
        lines = done.stderr.strip().splitlines()
        error = lines[-1] if lines else f"the process ended with status {done.returncode}"
    if error is not None:
        raise DatasetError(str(error))
