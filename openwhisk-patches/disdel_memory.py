"""The memory monitor for Apache OpenWhisk's own action proxies, which the patches here call.

It lies beside container_memory.py and memory_warning.py, and does for a stock proxy what disdel's
proxy does by itself: while an action runs, `__OW_MEMORY_STATE` names a file with the latest memory
reading, and when the action enters the critical region of its limit, the activation's log and the
memory agent are told. Python 3.10 or later, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import memory_warning
from container_memory import (
    STATE_ENV,
    MemoryMonitor,
    MemoryUse,
    critical_line,
    critical_region_bytes,
    find_cgroup,
    read_memory,
)

PEAK_HEADER = "X-Disdel-Peak-Memory-Bytes"
CRITICAL_HEADER = "X-Disdel-Memory-Critical"

os.environ.setdefault(STATE_ENV, str(Path(tempfile.mkdtemp(prefix="memory-")) / "memory.json"))


@contextlib.contextmanager
def watching(value: object) -> Iterator[MemoryMonitor]:
    """Monitor memory while the action runs with the argument `value`."""
    critical_bytes = critical_region_bytes()
    teller = memory_warning.Teller(value, lambda: read_memory(find_cgroup()).limit_bytes, _log)

    def warn(use: MemoryUse) -> None:
        _log(critical_line(use, critical_bytes))
        teller.warn(
            used_bytes=use.used_bytes,
            limit_bytes=use.limit_bytes or 0,
            critical_bytes=critical_bytes,
        )

    with MemoryMonitor(
        state_path=Path(os.environ[STATE_ENV]), critical_bytes=critical_bytes, on_critical=warn
    ) as monitor:
        try:
            yield monitor
        finally:
            teller.end()


def run(runner: Any, value: object, message: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    """Run an action of the docker skeleton under the monitor.

    Args:
        runner: the proxy's `ActionRunner`.
        value: the action's argument.
        message: what the invoker said besides.

    Returns:
        Status and result as `runner.run` gives them, and the headers of the reply.
    """
    with watching(value) as monitor:
        status, result = runner.run(value, runner.env(message))
    headers = {PEAK_HEADER: str(monitor.use().peak_bytes)}
    if monitor.warned:
        headers[CRITICAL_HEADER] = "1"
    return status, result, headers


def _log(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
