"""What only the environment says, and the parts of settings that others share.

| setting | environment | default |
| --- | --- | --- |
| state directory | `DISDEL_STATE_DIR` | `~/.local/state/disdel` |
| memory of a helper process, MB | `DISDEL_HELPER_MEMORY_MB` | 80% of what is free |
| time of a helper process, s | `DISDEL_HELPER_TIMEOUT_S` | 1800 |
| memory agent's secret (memory_grant.py) | `DISDEL_MEMORY_SECRET` | none: pods do not grow |

A variable of disdel's that is set to nothing is refused: it is a slip more often than a wish.
All other settings are declared in `disdel.settings` and `disdel.types`. Where the home folder
cannot be used, the default state and data directories are among temporary files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from disdel.errors import UsageError
from disdel.host.home import expanded, in_home

# More than anybody's; what is longer is another file.
_MOST_PROPS_BYTES = 1 << 20


_HELPER_SHARE = 0.8
_HELPER_TIMEOUT_S = 1800.0
DEFAULT_PATIENCE_NETWORK_S = 60.0
# A week: who waits longer has forgotten, and timers of 32 bits end soon after.
LONGEST_S = 604_800.0
_MOST_MB = 2**31


def read_wskprops(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The `KEY=value` lines of `.wskprops`; empty when there is no such file.

    Raises:
        UsageError: there is one, and it cannot be read.
    """
    named = environ.get("WSK_CONFIG_FILE")
    try:
        path = Path(named) if named else Path.home() / ".wskprops"
    except RuntimeError:
        return {}  # There is no home folder.
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_PROPS_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        if not named and not os.access(path.parent, os.X_OK):
            return {}  # A home folder that is another user's.
        why = (isinstance(error, OSError) and error.strerror) or "it is no UTF-8 text"
        raise UsageError(
            f"{path} cannot be read ({why}): mend it, or name another with WSK_CONFIG_FILE"
        ) from error
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs if not key.startswith("#")}


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder in which started servers are recorded, so that the next start can clean up."""
    configured = variable("DISDEL_STATE_DIR", environ)
    if configured:
        return expanded(configured, "DISDEL_STATE_DIR")
    base = environ.get("XDG_STATE_HOME")
    if base:
        return expanded(base, "XDG_STATE_HOME") / "disdel"
    return in_home("~/.local/state/disdel", "DISDEL_STATE_DIR")


def for_children() -> dict[str, str]:
    """This environment, in which a Python process finds the same disdel, installed or not."""
    path = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def helper_memory_mb(environ: Mapping[str, str] = os.environ) -> int | None:
    """Most MB of a process that runs the user's code on this host; None where nobody tells."""
    configured = _positive("DISDEL_HELPER_MEMORY_MB", _MOST_MB, environ)
    if configured is not None:
        return int(configured)
    free = _free_mb()
    return None if free is None else max(int(_HELPER_SHARE * free), 1)


def helper_timeout_s(environ: Mapping[str, str] = os.environ) -> float:
    """Longest time of such a process, in seconds."""
    return _positive("DISDEL_HELPER_TIMEOUT_S", LONGEST_S, environ) or _HELPER_TIMEOUT_S


def variable(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """A variable of disdel's; None where it is not set.

    Raises:
        UsageError: it is set to nothing.
    """
    text = environ.get(name)
    if text is not None and not text.strip():
        raise UsageError(f"{name} is set to nothing: give it a value, or unset it")
    return text


def _positive(name: str, most: float, environ: Mapping[str, str]) -> float | None:
    text = variable(name, environ)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise UsageError(f"{name}={text}: a number above 0 and at most {most:.0f} is needed")
    return value


def _free_mb() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) >> 10
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, ValueError):
        return None
