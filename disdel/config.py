"""Where settings come from: flag, then environment, then `~/.wskprops`, then the default.

| setting | environment | file | default |
| --- | --- | --- | --- |
| API host | `DISDEL_APIHOST` | `APIHOST` in `.wskprops` | the embedded platform |
| key | `DISDEL_AUTH` | `AUTH` in `.wskprops` | none |
| Redis | `DISDEL_REDIS` | | a private server for the run |
| image prefix, tag | `DISDEL_IMAGE_PREFIX`, `DISDEL_IMAGE_TAG` | | `disdel/`, disdel's version |
| memory agent's secret | `DISDEL_MEMORY_SECRET` (see memory_grant.py) | | none: pods do not grow |
| architectures | `DISDEL_ARCH` | | this machine's |
| data directory | `DISDEL_DATA_DIR`, `TFDS_DATA_DIR` | | `~/tensorflow_datasets` |
| run directory | `DISDEL_RUN_DIR` | | `./runs` |
| state directory | `DISDEL_STATE_DIR` | | `~/.local/state/disdel` |
| memory of a helper process, MB | `DISDEL_HELPER_MEMORY_MB` | | 80% of what is free |
| time of a helper process, s | `DISDEL_HELPER_TIMEOUT_S` | | 1800 |
| patience with servers | `DISDEL_PATIENCE_NETWORK` | | 60 s |

A variable of disdel's that is set to nothing is refused: it is a slip more often than a wish.
`.wskprops` is OpenWhisk's own file, in the home folder or where `WSK_CONFIG_FILE` says. Where the
home folder cannot be used, the default state and data directories are among temporary files.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from disdel.errors import UsageError
from disdel.home import expanded, in_home
from disdel.masking import masked

# More than anybody's; what is longer is another file.
_MOST_PROPS_BYTES = 1 << 20


_HELPER_SHARE = 0.8
_HELPER_TIMEOUT_S = 1800.0
DEFAULT_PATIENCE_NETWORK_S = 60.0
# A week: who waits longer has forgotten, and timers of 32 bits end soon after.
_LONGEST_S = 604_800.0
_MOST_MB = 2**31
# What stands before every path of OpenWhisk's API.
_API_PATH = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How to reach an OpenWhisk: the host as a URL, and the key as `uuid:secret`."""

    apihost: str
    auth: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"ApiAccess(apihost={self.apihost!r}, auth=<hidden>)"


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


def api_access(
    apihost: str | None = None,
    auth: str | None = None,
    *,
    insecure: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> ApiAccess | None:
    """The OpenWhisk that the user configured, or None when no API host is configured.

    A host without a scheme means https, as `wsk` reads it; the API's path may stand behind it.

    Raises:
        UsageError: the host is no URL, or the key no text.
    """
    props = read_wskprops(environ)
    host = apihost or _variable("DISDEL_APIHOST", environ) or props.get("APIHOST")
    if not host:
        return None
    key = auth or _variable("DISDEL_AUTH", environ) or props.get("AUTH") or ""
    url, in_url = _split_host(_text("the API host (--apihost)", host))
    return ApiAccess(url, _text("the key (--auth)", key) or in_url, insecure)


def _split_host(host: str) -> tuple[str, str]:
    """The URL of an API host, and the key that stands in it, if any."""
    url = host if "://" in host else f"https://{host}"
    wrong = UsageError(
        f"the API host {masked(url)} is no URL of the form https://HOST[:PORT]: check --apihost "
        "(or APIHOST in ~/.wskprops); the key goes with --auth"
    )
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
        (name or "").encode("idna")
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not name or parts.query or parts.fragment:
        raise wrong
    if "@" in parts.path or port == 0:
        raise wrong
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    return place.removesuffix(_API_PATH).rstrip("/"), user


def _text(name: str, value: str) -> str:
    """A setting as text.

    Raises:
        UsageError: it has bytes that are no UTF-8, or control characters; it may be a secret.
    """
    if any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value):
        raise UsageError(f"{name} holds characters that cannot be in it: write it anew")
    return value


def redis_url(flag: str | None = None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The Redis that the user configured, or None for a private one.

    Raises:
        UsageError: it is no text.
    """
    url = flag or _variable("DISDEL_REDIS", environ)
    return _text("the Redis (--redis)", url) if url else None


def patience_network_s(flag: float | None = None, environ: Mapping[str, str] = os.environ) -> float:
    """How many seconds a platform or a Redis that fails is tried again.

    Raises:
        UsageError: it is no number of seconds.
    """
    name, given = "--patience-network", flag
    configured = None if given is not None else _variable("DISDEL_PATIENCE_NETWORK", environ)
    if configured is not None:
        name = "DISDEL_PATIENCE_NETWORK"
        try:
            given = float(configured)
        except ValueError:
            given = math.nan
    if given is None:
        return DEFAULT_PATIENCE_NETWORK_S
    if not 0 <= given <= _LONGEST_S:
        shown = configured if flag is None else f"{given:g}"
        raise UsageError(
            f"{name} must be a number of seconds from 0 to {_LONGEST_S:.0f}, a week, not {shown}"
        )
    return given


def image_prefix(flag: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """What stands before the names of the runtime images, such as `registry.example/team/`."""
    return flag or _variable("DISDEL_IMAGE_PREFIX", environ) or "disdel/"


def image_tag(flag: str | None, default: str, environ: Mapping[str, str] = os.environ) -> str:
    """The tag of the runtime images. Never `latest`: nodes would pull before every cold start."""
    return flag or _variable("DISDEL_IMAGE_TAG", environ) or default


def architectures(flag: str | None = None, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The CPU architectures of the cluster's nodes, in Kubernetes' names: `amd64`, `arm64`."""
    machine = platform.machine().lower()
    own = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    configured = flag or _variable("DISDEL_ARCH", environ) or own
    return [name.strip() for name in configured.split(",")]


def data_dir(flag: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of prepared data sets, in TFDS's own layout."""
    configured = flag or _variable("DISDEL_DATA_DIR", environ) or environ.get("TFDS_DATA_DIR")
    if configured:
        return expanded(configured, "--data-dir")
    return in_home("~/tensorflow_datasets", "DISDEL_DATA_DIR")


def run_dir(flag: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds one folder a run."""
    return expanded(flag or _variable("DISDEL_RUN_DIR", environ) or "runs", "--run-dir")


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder in which started servers are recorded, so that the next start can clean up."""
    configured = _variable("DISDEL_STATE_DIR", environ)
    if configured:
        return expanded(configured, "DISDEL_STATE_DIR")
    base = environ.get("XDG_STATE_HOME")
    if base:
        return expanded(base, "XDG_STATE_HOME") / "disdel"
    return in_home("~/.local/state/disdel", "DISDEL_STATE_DIR")


def helper_memory_mb(environ: Mapping[str, str] = os.environ) -> int | None:
    """Most MB of a process that runs the user's code on this host; None where nobody tells."""
    configured = _positive("DISDEL_HELPER_MEMORY_MB", _MOST_MB, environ)
    if configured is not None:
        return int(configured)
    free = _free_mb()
    return None if free is None else max(int(_HELPER_SHARE * free), 1)


def helper_timeout_s(environ: Mapping[str, str] = os.environ) -> float:
    """Longest time of such a process, in seconds."""
    return _positive("DISDEL_HELPER_TIMEOUT_S", _LONGEST_S, environ) or _HELPER_TIMEOUT_S


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    """A variable of disdel's; None where it is not set.

    Raises:
        UsageError: it is set to nothing.
    """
    text = environ.get(name)
    if text is not None and not text.strip():
        raise UsageError(f"{name} is set to nothing: give it a value, or unset it")
    return text


def _positive(name: str, most: float, environ: Mapping[str, str]) -> float | None:
    text = _variable(name, environ)
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
