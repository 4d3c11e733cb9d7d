"""The folder that a platform's own tool deploys: the entry, the library, and the platform's words.

Of a platform are here the name of the file that it calls, what that hands on to the entry, and the
file in which its tool is told of limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import disdel
from disdel.protocol.calls import DEPLOYED, library_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is asked of the platform for an instance.

    Attributes:
        memory_mb: of an instance.
        timeout_s: of a call.
        instances: how many there may be.
    """

    memory_mb: int
    timeout_s: int
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A platform that can be exported to.

    Attributes:
        root: the folder of the function's own code, within the export.
        files: what else there is, of limits and the packages that are required.
        commands: that deploy it, and how it is reached then.
    """

    root: str
    files: Callable[[Limits, Sequence[str]], dict[str, str]]
    commands: Callable[[Limits], str]


def exported(
    name: str,
    limits: Limits,
    *,
    library: Mapping[str, bytes],
    entry: Mapping[str, bytes],
    packages: Sequence[str],
) -> dict[str, bytes]:
    """The files of an export, by path.

    Args:
        name: of the platform, one of `TARGETS`.
        limits: of an instance.
        library: the worker side of disdel.
        entry: what calls actions there.
        packages: what they import, with versions as pip takes them.
    """
    target = TARGETS[name]
    facts = {
        "exported": name,
        "version": disdel.__version__,
        "library": library_digest(library.items()),
        "instance_mb": limits.memory_mb,
        "timeout_s": limits.timeout_s,
        "instances": limits.instances,
    }
    code = {**library, **entry, DEPLOYED: json.dumps(facts, indent=2).encode() + b"\n"}
    texts = {**target.files(limits, packages), "README.md": _readme(name, target, limits)}
    return {
        **{f"{target.root}{path}": data for path, data in code.items()},
        **{path: text.encode() for path, text in texts.items()},
    }


def _lines(packages: Sequence[str]) -> str:
    return "".join(f"{package}\n" for package in packages)


def _functions_framework(_limits: Limits, packages: Sequence[str]) -> dict[str, str]:
    return {
        "main.py": '''"""What functions-framework calls."""

import sys
from pathlib import Path

import functions_framework

# The library lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from disdel.entry.http_function import serve


@functions_framework.http
def disdel_function(request):
    status, headers, body = serve(request.get_data(), request.headers)
    return body, status, headers
''',
        "requirements.txt": _lines(["functions-framework>=3.8", *packages]),
    }


def _knative(limits: Limits, packages: Sequence[str]) -> dict[str, str]:
    dependencies = "".join(f"  {json.dumps(package)},\n" for package in packages)
    return {
        "function/__init__.py": '''"""What Knative's func calls."""

import sys
from pathlib import Path

# The library lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from disdel.entry.http_function import serve_asgi


def new():
    return Function()


class Function:
    async def handle(self, scope, receive, send):
        await serve_asgi(scope, receive, send)
''',
        "pyproject.toml": f"""[project]
name = "function"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [
{dependencies}]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
""",
        "func.yaml": f"""specVersion: 0.36.0
name: disdel
runtime: python
invoke: http
deploy:
  healthEndpoints:
    liveness: /health/liveness
    readiness: /health/readiness
  options:
    scale:
      min: 0
      max: {limits.instances}
    resources:
      requests:
        memory: {limits.memory_mb}Mi
      limits:
        memory: {limits.memory_mb}Mi
        concurrency: 1
""",
    }


def _openfaas(limits: Limits, packages: Sequence[str]) -> dict[str, str]:
    return {
        "disdel-function/handler.py": '''"""What OpenFaaS' python3-http template calls."""

import sys
from pathlib import Path

# The library lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from disdel.entry.http_function import serve


def handle(event, context):
    status, headers, body = serve(event.body, event.headers)
    return {"statusCode": status, "headers": headers, "body": body}
''',
        "disdel-function/requirements.txt": _lines(packages),
        "stack.yml": f"""version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  disdel-function:
    lang: python3-http-debian
    handler: ./disdel-function
    image: disdel-function:{disdel.__version__}
    # The least time limit on the way counts: the gateway has its own.
    environment:
      read_timeout: {limits.timeout_s}s
      write_timeout: {limits.timeout_s}s
      exec_timeout: {limits.timeout_s}s
      max_inflight: 1
    labels:
      com.openfaas.scale.max: "{limits.instances}"
    limits:
      memory: {limits.memory_mb}Mi
    requests:
      memory: {limits.memory_mb}Mi
""",
    }


TARGETS: dict[str, Target] = {
    "functions-framework": Target(
        root="",
        files=_functions_framework,
        commands=lambda limits: (
            f"""gcloud run deploy disdel --source . --function disdel_function \\
    --base-image python311 --concurrency 1 --memory {limits.memory_mb}Mi \\
    --timeout {limits.timeout_s} --max-instances {limits.instances} --no-allow-unauthenticated
disdel train digits --platform http --platform-option url=https://… \\
    --platform-option token_command="gcloud auth print-identity-token" --redis rediss://…"""
        ),
    ),
    "knative": Target(
        root="function/",
        files=_knative,
        commands=lambda _: (
            """func deploy --registry registry.example/team
disdel train digits --platform http --platform-option url=https://… --redis rediss://…"""
        ),
    ),
    "openfaas": Target(
        root="disdel-function/",
        files=_openfaas,
        commands=lambda _: (
            """faas-cli template store pull python3-http-debian
faas-cli up -f stack.yml
disdel train digits --platform http \\
    --platform-option url=http://127.0.0.1:8080/function/disdel-function --redis rediss://…"""
        ),
    ),
}


def _readme(name: str, target: Target, limits: Limits) -> str:
    return f"""# disdel's function, for {name}

Written by `disdel export` of version {disdel.__version__}; deploy it anew when disdel is updated.

```console
{target.commands(limits)}
```

Whoever can call it has it run code. Where the platform does not ask for a token, set `DISDEL_TOKEN`
in the function's environment to a secret, and name it here: `--platform-option key_env=NAME`.
"""
