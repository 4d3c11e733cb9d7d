"""The API: functions, invocations, the account's limits, and logs as far as they are asked for."""

import base64
import contextlib
import hashlib
import io
import json
import re
import secrets
import shutil
import tempfile
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from openwhisk_local.containers.cgroups import open_cgroups
from tests.support.lambda_emulator.container import MIB, Container, is_error
from tests.support.stub_lambda import ROLE

PAYLOAD_BYTES = 6_291_556
_TAIL_BYTES = 4096
_FUNCTIONS = "/2015-03-31/functions"
_CODE = {"ZipFile", "ImageUri"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Refused(Exception):
    """An error as AWS answers it."""

    def __init__(self, status, kind, message, **facts):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.facts = facts


class Lost(Exception):
    """An answer that does not arrive."""


@dataclass
class Function:
    settings: dict
    task: Path
    code_bytes: int
    digest: str
    image: object = None
    idle: list = field(default_factory=list)

    def configuration(self):
        return {
            **self.settings,
            "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}",
            "CodeSha256": self.digest,
            "CodeSize": self.code_bytes,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Version": "$LATEST",
        }

    @property
    def name(self):
        return self.settings["FunctionName"]


class LambdaEmulator:
    """A server; a context manager.

    Args:
        programs: AWS's emulator, and a Python with its runtime client.
        concurrency: how many invocations may be under way.
        images: what there is in the registry, by name.

    Attributes:
        url: of the API.
        counts: of what was done, by name: `invoked`, `throttled`.
        kills: the numbers, from 1, of the invocations whose processes are killed.
        loses: of those whose answers get lost on the way.
    """

    def __init__(self, programs, *, concurrency=16, images=None):
        self.programs = programs
        self.images = images or {}
        self.concurrency = concurrency
        self.counts = Counter()
        self.kills = set()
        self.loses = set()
        self._folder = Path(tempfile.mkdtemp(prefix="lambda-emulator-"))
        self._lock = threading.RLock()
        self._functions = {}
        self._running = 0
        self._containers = set()
        self._logs = {}
        self._numbers = iter(range(10**9))
        self._cgroups = open_cgroups(f"lambda-{secrets.token_hex(4)}")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        for container in tuple(self._containers):
            self._end(container)
        if self._cgroups is not None:
            self._cgroups.close()
        shutil.rmtree(self._folder)

    def left(self):
        """What users have left here."""
        return sorted(self._functions) + sorted(self._logs)

    def create(self, asked):
        name = asked["FunctionName"]
        with self._lock:
            if name in self._functions:
                raise Refused(409, "ResourceConflictException", f"Function already exist: {name}")
            settings = {key: value for key, value in asked.items() if key != "Code"}
            _check(settings)
            self._functions[name] = self._made(settings, asked["Code"])
            return self._functions[name].configuration()

    def update(self, name, asked):
        """Change the code, or else the settings."""
        with self._lock:
            function = self._function(name)
            settings = {**function.settings, **{k: v for k, v in asked.items() if k not in _CODE}}
            _check(settings)
            if _CODE & asked.keys():
                made = self._made(settings, asked)
            else:
                made = replace(function, settings=settings, idle=[])
            self._functions[name] = made
        self._end_idle(function)
        return made.configuration()

    def _made(self, settings, code):
        if settings["PackageType"] == "Zip":
            return self._of_zip(settings, base64.b64decode(code["ZipFile"]))
        image = self.images.get(code["ImageUri"])
        if image is None:
            why = f"Source image {code['ImageUri']} does not exist. Provide a valid source image."
            raise Refused(400, "InvalidParameterValueException", why)
        return Function(settings, image.task, 0, code["ImageUri"], image)

    def _of_zip(self, settings, code):
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            unzipped = sum(member.file_size for member in archive.infolist())
            if len(code) > 50 * MIB or unzipped > 250 * MIB:
                raise Refused(400, "InvalidParameterValueException", "Unzipped size is too large")
            task = Path(tempfile.mkdtemp(dir=self._folder))
            archive.extractall(task)
        digest = base64.b64encode(hashlib.sha256(code).digest()).decode()
        return Function(settings, task, len(code), digest)

    def configuration(self, name):
        return self._function(name).configuration()

    def listed(self):
        return {"Functions": [function.configuration() for function in self._functions.values()]}

    def delete(self, name):
        with self._lock:
            function = self._function(name)
            del self._functions[name]
        self._end_idle(function)

    def _end_idle(self, function):
        """What runs goes on with what it has."""
        while function.idle:
            self._end(function.idle.pop())

    def _end(self, container):
        self._containers.discard(container)
        container.end()

    def invoke(self, name, event):
        """Status, headers and body of what answers an invocation."""
        function = self._function(name)
        if len(event) > PAYLOAD_BYTES:
            raise Refused(
                413,
                "RequestTooLargeException",
                f"Request must be smaller than {PAYLOAD_BYTES} bytes for the InvokeFunction "
                "operation",
            )
        with self._lock:
            if self._running >= self.concurrency:
                self.counts["throttled"] += 1
                raise Refused(
                    429,
                    "TooManyRequestsException",
                    "Rate Exceeded.",
                    Reason="ReservedFunctionConcurrentInvocationLimitExceeded",
                )
            self.counts["invoked"] += 1
            number = self.counts["invoked"]
            container = function.idle.pop() if function.idle else None
            self._running += 1
        try:
            container = container or self._started(function)
            invoked = container.invoke(event, kills=number in self.kills)
        finally:
            with self._lock:
                self._running -= 1
        with self._lock:
            is_there = self._functions.get(name) is function
            kept = is_there and not invoked.crashed
            if kept:
                function.idle.append(container)
            if is_there:
                self._logs.setdefault(f"/aws/lambda/{name}", []).append(invoked.log)
        if not kept:
            self._end(container)
        if number in self.loses:
            raise Lost
        return _answer(invoked)

    def _started(self, function):
        number = next(self._numbers)
        cell = None
        folder = self._folder / f"container-{number}"
        if self._cgroups is not None:
            cell = self._cgroups.cell(f"c{number}", function.settings["MemorySize"] * MIB, folder)
        container = Container(
            self.programs, function.settings, function.task, folder, cell, function.image
        )
        self._containers.add(container)
        return container

    def logs_call(self, operation, asked):
        """CloudWatch's operations: each invocation's lines are a stream."""
        group = asked["logGroupName"]
        if group not in self._logs:
            raise Refused(400, "ResourceNotFoundException", f"There is no log group {group}.")
        events = [
            [{"message": line + "\n", "timestamp": 0} for line in log.splitlines()]
            for log in self._logs[group]
        ]
        if operation == "DeleteLogGroup":
            del self._logs[group]
            return {}
        if operation == "FilterLogEvents":
            words = asked["filterPattern"].strip('"')
            found = [
                {**event, "logStreamName": str(stream)}
                for stream, lines in enumerate(events)
                for event in lines
                if words in event["message"]
            ]
            return {"events": found}
        assert operation == "GetLogEvents", operation
        lines = [] if "nextToken" in asked else events[int(asked["logStreamName"])]
        return {"events": lines, "nextForwardToken": "end"}

    def _function(self, name):
        if name not in self._functions:
            raise Refused(
                404,
                "ResourceNotFoundException",
                f"Function not found: arn:aws:lambda:us-east-1:123456789012:function:{name}",
            )
        return self._functions[name]


def _answer(invoked):
    """Status, headers and body, as Lambda has them."""
    body = invoked.body
    if len(body) > PAYLOAD_BYTES:
        body = _error(
            "Function.ResponseSizeTooLarge",
            f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
            f"({PAYLOAD_BYTES} bytes).",
        )
    headers = {
        "x-amzn-RequestId": invoked.id,
        "X-Amz-Executed-Version": "$LATEST",
        "X-Amz-Log-Result": base64.b64encode(invoked.log.encode()[-_TAIL_BYTES:]).decode(),
    }
    # That the time was up, its text alone says.
    if is_error(body):
        headers["X-Amz-Function-Error"] = "Unhandled"
    return 200, headers, body


def _check(settings):
    """As Lambda does."""

    def refuse(why):
        raise Refused(400, "ValidationException", why)

    if not 128 <= settings["MemorySize"] <= 10_240:
        refuse(f"Value '{settings['MemorySize']}' at 'memorySize' failed to satisfy constraint")
    if not 1 <= settings["Timeout"] <= 900:
        refuse(f"Value '{settings['Timeout']}' at 'timeout' failed to satisfy constraint")
    if not _NAME.fullmatch(settings["FunctionName"]):
        refuse(f"Value '{settings['FunctionName']}' at 'functionName' failed to satisfy constraint")
    if settings["Role"] != ROLE:
        raise Refused(
            400,
            "InvalidParameterValueException",
            "The role defined for the function cannot be found.",
        )
    if settings["PackageType"] == "Image":
        if {"Handler", "Runtime"} & settings.keys():
            refuse("Parameters are not supported when PackageType is Image: Handler, Runtime")
    elif re.fullmatch(r"python3\.\d+", settings["Runtime"]) is None:
        refuse(f"Value {settings['Runtime']} at 'runtime' failed to satisfy constraint")


def _error(kind, message):
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _handler_of(emulator):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, headers, answer = self.routed(body)
            except Lost:
                self.close_connection = True
                return
            except Refused as refused:
                status, headers = refused.status, {"x-amzn-ErrorType": refused.kind}
                said = {"__type": refused.kind, "message": str(refused), **refused.facts}
                answer = json.dumps(said).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do

        def routed(self, body):
            path = unquote(urlsplit(self.path).path).rstrip("/")
            if path == "" and "X-Amz-Target" in self.headers:
                operation = self.headers["X-Amz-Target"].partition(".")[2]
                return self.json(emulator.logs_call(operation, json.loads(body)))
            if path == "/2016-08-19/account-settings":
                limits = {"AccountLimit": {"ConcurrentExecutions": emulator.concurrency}}
                return self.json(limits)
            assert path.startswith(_FUNCTIONS), path
            name, _, rest = path.removeprefix(_FUNCTIONS).strip("/").partition("/")
            match self.command, rest:
                case "GET", "" if not name:
                    return self.json(emulator.listed())
                case "POST", "" if not name:
                    return self.json(emulator.create(json.loads(body)), 201)
                case "POST", "invocations":
                    return emulator.invoke(name, body)
                case "GET", "configuration":
                    return self.json(emulator.configuration(name))
                case "PUT", "code" | "configuration":
                    return self.json(emulator.update(name, json.loads(body)))
                case "DELETE", "":
                    emulator.delete(name)
                    return 204, {}, b""
            raise Refused(404, "UnknownOperationException", f"{self.command} {path}")

        def json(self, fields, status=200):
            return status, {}, json.dumps(fields).encode()

        def log_message(self, *_):
            pass

    return Handler
