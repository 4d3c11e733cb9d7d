"""A `wsk` for tests: it checks and records every call, and sends it to an OpenWhisk's REST API.

What it takes and prints is that of apache/openwhisk-cli 1.2.0 (commands/action.go, package.go,
activation.go, and the texts in wski18n/resources/en_US.all.json), for what the scripts use. A call
that it does not know is an error. Without `WSK_TEST_APIHOST` it only records.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import httpx

NAMESPACE = "/api/v1/namespaces/_"


def parser() -> argparse.ArgumentParser:
    """The command line, with nothing abbreviated and nothing unknown."""
    top = argparse.ArgumentParser(prog="wsk", allow_abbrev=False)
    top.add_argument("--insecure", "-i", action="store_true")
    kinds = top.add_subparsers(dest="kind", required=True)
    for kind in ("action", "package", "activation"):
        verbs = kinds.add_parser(kind).add_subparsers(dest="verb", required=True)
        for verb in {"activation": ("result",)}.get(kind, ("update", "delete", "invoke")):
            command = verbs.add_parser(verb, allow_abbrev=False)
            command.add_argument("name")
            if verb in ("update", "invoke"):
                command.add_argument("--param", nargs=2, action="append", default=[])
                command.add_argument("--param-file")
            if (kind, verb) == ("action", "update"):
                command.add_argument("artifact")
                command.add_argument("--docker")
                command.add_argument("--kind", dest="runtime")
                command.add_argument("--memory", type=int)
                command.add_argument("--timeout", type=int)
    return top


def fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)


def as_json(text: str) -> Any:
    """The value of a parameter: JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def call(method: str, path: str, body: object = None) -> Any:
    host, auth = os.environ.get("WSK_TEST_APIHOST"), os.environ.get("WSK_TEST_AUTH", ":")
    if host is None:
        return {"activationId": "0" * 32, "result": {}}
    user, _, secret = auth.partition(":")
    reply = httpx.request(
        method, host + path, json=body, auth=(user, secret), timeout=90, trust_env=False
    )
    if reply.is_error and "x-openwhisk-activation-id" not in reply.headers:
        fail(f"Unable to do that: {reply.json()['error']} (code {reply.json()['code']})")
    return reply.json()


def main() -> None:
    with Path(os.environ["WSK_TEST_CALLS"]).open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    options = parser().parse_args()
    path = f"{NAMESPACE}/{options.kind}s/{options.name}"
    match options.kind, options.verb:
        case "package", "update":
            given = dict(options.param)
            if options.param_file:
                file = Path(options.param_file)
                if file.stat().st_mode & file.parent.stat().st_mode & 0o077:
                    fail(f"{file} can be read by others")
                given |= json.loads(file.read_text())
            parameters = [
                {"key": key, "value": as_json(value) if isinstance(value, str) else value}
                for key, value in given.items()
            ]
            with Path(f"{os.environ['WSK_TEST_CALLS']}.parameters").open("a") as kept:
                kept.write(json.dumps(given) + "\n")
            call("PUT", f"{path}?overwrite=true", {"parameters": parameters})
            print(f"ok: updated package {options.name}")  # noqa: T201
        case "action", "update":
            code = base64.b64encode(Path(options.artifact).read_bytes()).decode()
            image = {"kind": "blackbox", "image": options.docker}
            runtime = image if options.docker else {"kind": options.runtime}
            limits = {"memory": options.memory, "timeout": options.timeout}
            call(
                "PUT",
                f"{path}?overwrite=true",
                {"exec": {**runtime, "code": code}, "limits": limits},
            )
            print(f"ok: updated action {options.name}")  # noqa: T201
        case _, "delete":
            call("DELETE", path)
            print(f"ok: deleted {options.kind} {options.name}")  # noqa: T201
        case "action", "invoke":
            arguments = json.loads(Path(options.param_file).read_text())
            made = call("POST", path, arguments)["activationId"]
            print(f"ok: invoked /_/{options.name} with id {made}")  # noqa: T201
        case "activation", "result":
            print(json.dumps(call("GET", f"{path}/result")["result"], indent=4))  # noqa: T201


if __name__ == "__main__":
    main()
