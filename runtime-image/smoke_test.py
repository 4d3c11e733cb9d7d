#!/usr/bin/env python3
"""Check an action container from outside: what OpenWhisk's invoker and an action rely on.

    smoke_test.py                                    the proxy of this checkout, without a container
    smoke_test.py -- docker run … -p 127.0.0.1:{port}:8080 IMAGE
    smoke_test.py --dialect skeleton -- python …     another proxy, here Apache's docker skeleton

The command is started once for every check, with `{port}` replaced, and must listen there; SIGTERM
must end it. What it leaves, however it and this program end, is removed by the command that
`--clean-up` gives. Standard library only. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
HERE = Path(__file__).resolve().parent
# What lies beside the proxy in the image.
PROXY_FILES = (
    HERE / "proxy.py",
    HERE / "proxy_code.py",
    HERE / "proxy_runner.py",
    HERE.parent / "openwhisk_local" / "machine" / "container_memory.py",
    HERE.parent / "disdel" / "memory_agent" / "memory_warning.py",
)
START_DEADLINE_S = 90.0
REQUEST_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
# The limit of a proxy that runs without a container; a container has its own.
PROCESS_LIMIT_BYTES = 160 << 20

ECHO = "def main(args):\n    return args\n"
ENVIRONMENT = (
    "import os\n"
    "AT_IMPORT = os.environ.get('SMOKE')\n"
    "def main(args):\n"
    "    seen = {k: v for k, v in os.environ.items() if k.startswith('__OW_')}\n"
    "    return {'at_import': AT_IMPORT, 'seen': seen, 'uid': os.getuid()}\n"
)
PRINT = (
    "import sys\n"
    "def main(args):\n"
    "    print('to stdout ☃', flush=True)\n"
    "    print('to stderr ☃', file=sys.stderr, flush=True)\n"
    "    return {}\n"
)
FILL = (
    "import json, os, time\n"
    "def main(args):\n"
    "    blocks = []\n"
    "    while len(blocks) < 1024:\n"
    "        with open(os.environ['__OW_MEMORY_STATE']) as file:\n"
    "            state = json.load(file)\n"
    "        if state['critical']:\n"
    "            return state\n"
    "        blocks.append(bytearray(4 << 20))\n"
    "        time.sleep(0.01)\n"
    "    return {'error': 'the monitor never warned'}\n"
)
EXECUTABLE = (
    "#!/usr/bin/env python3\n"
    "{code}\n"
    "import json, sys\n"
    "print(json.dumps(main(json.loads(sys.stdin.read()))))\n"
)


@dataclass(frozen=True)
class Dialect:
    """Where proxies differ.

    executable: an action is a program that reads stdin and prints its result, not a function.
    headers: the reply to /run carries the monitor's findings.
    init_env: /init may set the environment.
    no_action: the answer to a /run before /init.
    """

    executable: bool = False
    headers: bool = True
    init_env: bool = True
    no_action: tuple[int, str] = (500, "no action defined yet")


DIALECTS = {
    "disdel": Dialect(),
    "actionloop": Dialect(headers=False),
    "skeleton": Dialect(
        executable=True,
        init_env=False,
        no_action=(200, "This is a stub action. Replace it with custom logic."),
    ),
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class EndedByItself(Exception):
    """The container is no more; the message has its exit status."""


class Server:
    """One running container or proxy."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, dialect: Dialect) -> None:
        self.process = process
        self.port = port
        self.dialect = dialect
        self.answered = False
        self._log: tuple[str, str] | None = None

    def init(self, code: str, **value: Any) -> Answer:
        if self.dialect.executable and not value.get("binary"):
            code = EXECUTABLE.replace("{code}", code)
        body = {"value": {"name": "smoke", "main": "main", "code": code, **value}}
        return self.post("/init", body)

    def run(self, value: object, **context: str) -> Answer:
        return self.post("/run", {"value": value, **context})

    def post(self, path: str, body: object) -> Answer:
        """Send a request, for as long as it takes the container to listen.

        Raises:
            EndedByItself: it has ended instead.
        """
        end = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                answer = self._exchange(path, json.dumps(body).encode())
            except (ConnectionError, http.client.RemoteDisconnected):
                # A container engine accepts connections before the proxy does, and drops them.
                status = self.process.poll()
                if status is not None:
                    why = ": killed, as for more memory than it may have" if status == 137 else ""
                    raise EndedByItself(f"it ended by itself, exit status {status}{why}") from None
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                self.answered = True
                return answer

    def _exchange(self, path: str, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, REQUEST_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            names = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def end(self) -> tuple[str, str]:
        """Stop it and return what it has written to stdout and stderr."""
        if self._log is None:
            end = time.monotonic() + END_TIMEOUT_S
            while True:
                if self.process.poll() is None:
                    # Again: one that comes before the proxy's first line is lost on process 1.
                    self.process.send_signal(signal.SIGTERM)
                try:
                    out, err = self.process.communicate(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > end:
                        raise
            self._log = (out.decode(errors="replace"), err.decode(errors="replace"))
        return self._log


def check_echo(server: Server) -> None:
    """Unicode and a megabyte come back intact, with their length declared."""
    equal(server.init(ECHO).status, 200)
    value = {"text": "ünïcödé ☃ 🚀\n\t\"'", "large": "x" * (1 << 20), "empty": {}}
    reply = server.run(value)
    equal(reply.status, 200)
    equal(reply.body, value)
    equal(reply.headers.get("content-length"), str(len(reply.text)))


def check_init_once(server: Server) -> None:
    """A second /init is refused, and the action still runs."""
    equal(server.init(ECHO).status, 200)
    again = server.init(ECHO)
    equal(again.status, 403)
    equal(again.body, {"error": "Cannot initialize the action more than once."})
    equal(server.run({"still": "there"}).body, {"still": "there"})


def check_run_before_init(server: Server) -> None:
    """A /run without an action is answered."""
    status, message = server.dialect.no_action
    reply = server.run({})
    equal((reply.status, reply.body), (status, {"error": message}))


def check_environment(server: Server) -> None:
    """What the invoker says of an activation is in the environment, and no more."""
    server.init(ENVIRONMENT, env={"SMOKE": "1"})
    context = {"activation_id": "a" * 32, "deadline": "12", "action_name": "/guest/smoke"}
    reply = server.run({}, **context).body
    for name, text in context.items():
        equal(reply["seen"].get(f"__OW_{name.upper()}"), text)
    equal("__OW_API_KEY" in reply["seen"], False)
    if server.dialect.init_env:
        equal(reply["at_import"], "1")
    keyed = server.run({}, **context, api_key="uuid:key").body
    equal(keyed["seen"].get("__OW_API_KEY"), "uuid:key")


def check_log(server: Server) -> None:
    """Each stream has the action's lines, and one sentinel after each activation."""
    server.init(PRINT)
    server.run({})
    server.run({})
    for text, name in zip(server.end(), ("stdout", "stderr"), strict=True):
        equal(text.count(f"{SENTINEL}\n"), 2)
        equal(text.count(f"to {name} ☃"), 2)
        equal(text.rstrip("\n").endswith(SENTINEL), True)


def check_zip(server: Server) -> None:
    """A zip with a module and a data file."""
    files = {
        "__main__.py": "import other\ndef main(args):\n    return {'read': other.read()}\n",
        "other.py": "def read():\n    with open('data.txt') as file:\n        return file.read()\n",
        "data.txt": "data",
    }
    if server.dialect.executable:
        files["exec"] = EXECUTABLE.replace("{code}", files.pop("__main__.py"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    equal(server.init(base64.b64encode(buffer.getvalue()).decode(), binary=True).status, 200)
    equal(server.run({}).body, {"read": "data"})


def check_bad_result(server: Server) -> None:
    """A result that is neither an object nor an array is no result."""
    server.init("def main(args):\n    return 'text'\n")
    reply = server.run({})
    equal(reply.status, 502)
    equal(reply.body, {"error": "The action did not return a dictionary or array."})


def check_exception(server: Server) -> None:
    """An exception is an application error: 200, and the next call finds the action alive."""
    server.init("def main(args):\n    raise ValueError('too bad')\n")
    for _ in range(2):
        reply = server.run({})
        equal((reply.status, reply.body), (200, {"error": "too bad"}))
    equal("Traceback" in server.end()[1], True)


def check_memory(server: Server) -> None:
    """The monitor knows the limit, warns before it, and has the peak."""
    equal(server.init(FILL).status, 200)
    reply = server.run({})
    equal(reply.status, 200)
    state = reply.body
    equal(state.get("critical"), True)
    equal(0 < state["used_bytes"] <= state["peak_bytes"] < state["limit_bytes"], True)
    if server.dialect.headers:
        equal(reply.headers.get("x-disdel-memory-critical"), "1")
        equal(int(reply.headers["x-disdel-peak-memory-bytes"]) >= state["used_bytes"], True)
    equal("disdel: memory is critical: " in server.end()[1], True)


CHECKS: tuple[Callable[[Server], None], ...] = (
    check_echo,
    check_init_once,
    check_run_before_init,
    check_environment,
    check_log,
    check_zip,
    check_bad_result,
    check_exception,
    check_memory,
)


def image_check(imports: Sequence[str]) -> Callable[[Server], None]:
    """What only holds in a container."""

    def check_image(server: Server) -> None:
        """The action is not root, finds its packages, and no compiler."""
        code = "import importlib, shutil\n" + ENVIRONMENT.replace(
            "'uid'",
            "'compilers': [c for c in ('cc', 'gcc', 'g++', 'clang') if shutil.which(c)], "
            f"'imported': [importlib.import_module(m).__name__ for m in {list(imports)}], 'uid'",
        )
        equal(server.init(code).status, 200)
        found = server.run({}).body
        equal(found["uid"] == 0, False)
        equal(found["compilers"], [])
        equal(found["imported"], list(imports))

    return check_image


def equal(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"found {found!r:.300}, wanted {wanted!r:.300}")


@contextmanager
def started(
    command: Sequence[str], dialect: Dialect, clean_up: Sequence[str] = ()
) -> Iterator[Server]:
    """The command, listening or about to, on a free port; stopped and cleaned up in the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        process = subprocess.Popen(
            on_port(command, port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "TMPDIR": folder,
                "DISDEL_MEMORY_LIMIT_BYTES": str(PROCESS_LIMIT_BYTES),
            },
        )
        server = Server(process, port, dialect)
        try:
            yield server
        except BaseException:
            with suppress(subprocess.TimeoutExpired):
                server.end()
            raise
        else:
            server.end()
        finally:
            if clean_up:
                # It has nothing to remove where all went well.
                subprocess.run(on_port(clean_up, port), capture_output=True, check=False)
            process.kill()
            process.communicate()


def on_port(command: Sequence[str], port: int) -> list[str]:
    return [word.replace("{port}", str(port)) for word in command]


def run_checks(
    command: Sequence[str],
    dialect: Dialect,
    checks: Sequence[Callable[[Server], None]],
    clean_up: Sequence[str] = (),
) -> int:
    """Run the checks, print a line for each, and return how many did not pass.

    A container that does not start will not do so for the next check: that one is the last.
    """
    passed = 0
    for check in checks:
        what = (check.__doc__ or check.__name__).splitlines()[0]
        begun_s = time.monotonic()
        server = None
        try:
            with started(command, dialect, clean_up) as server:
                check(server)
        except Exception as error:
            say(f"FAILED  {what}")
            if isinstance(error, EndedByItself):
                say(str(error))
            else:
                traceback.print_exc()
            if server is None:
                break
            say("stdout: {}\nstderr: {}".format(*server.end()))
            if not server.answered:
                say("it never answered; the other checks are left out")
                break
        else:
            passed += 1
            say(f"ok {time.monotonic() - begun_s:6.2f} s  {what}")
    say(f"{passed} of {len(checks)} checks passed")
    return len(checks) - passed


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="Without a command it is the proxy of this checkout.",
    )
    parser.add_argument("--dialect", choices=DIALECTS, default="disdel")
    parser.add_argument(
        "--image", metavar="MODULES", help="also check a container, which can import these modules"
    )
    parser.add_argument(
        "--clean-up", metavar="COMMAND", default="", help="run after every check, with {port} in it"
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="with {port} in it")
    options = parser.parse_args()
    # So that what was started is stopped and cleaned up then as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    dialect = DIALECTS[options.dialect]
    # What an exception becomes is up to a program that is its own action.
    checks = [check for check in CHECKS if not (dialect.executable and check is check_exception)]
    if options.image is not None:
        checks.append(image_check([name for name in options.image.split(",") if name]))
    with tempfile.TemporaryDirectory(prefix="smoke-proxy-") as folder:
        command = options.command
        if not command:
            for source in PROXY_FILES:
                shutil.copy(source, folder)
            command = [sys.executable, f"{folder}/proxy.py", "--port", "{port}"]
        clean_up = shlex.split(options.clean_up)
        sys.exit(1 if run_checks(command, dialect, checks, clean_up) else 0)


if __name__ == "__main__":
    main()
