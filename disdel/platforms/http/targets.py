"""The folders that the tools of platforms behind URLs deploy: what they call, and their limits.

Of a platform are here the name of the file that it calls, what that hands on to the entry, and the
file in which its tool is told of limits.
"""

from __future__ import annotations

import json

import disdel
from disdel.platforms.exported import Content, Target, lines

_NOTE = """Whoever can call it has it run code. Where the platform does not ask for a token, set
`DISDEL_TOKEN` in the function's environment to a secret, and name it here:
`--platform-option key_env=NAME`.
"""


def _functions_framework(content: Content) -> dict[str, str]:
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
        "requirements.txt": lines(["functions-framework>=3.8", *content.all_packages]),
    }


def _knative(content: Content) -> dict[str, str]:
    dependencies = "".join(f"  {json.dumps(package)},\n" for package in content.all_packages)
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
      max: {content.limits.instances}
    resources:
      requests:
        memory: {content.limits.memory_mb}Mi
      limits:
        memory: {content.limits.memory_mb}Mi
        concurrency: 1
""",
    }


def _openfaas(content: Content) -> dict[str, str]:
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
        "disdel-function/requirements.txt": lines(content.all_packages),
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
      read_timeout: {content.limits.timeout_s}s
      write_timeout: {content.limits.timeout_s}s
      exec_timeout: {content.limits.timeout_s}s
      max_inflight: 1
    labels:
      com.openfaas.scale.max: "{content.limits.instances}"
    limits:
      memory: {content.limits.memory_mb}Mi
    requests:
      memory: {content.limits.memory_mb}Mi
""",
    }


TARGETS: dict[str, Target] = {
    "functions-framework": Target(
        root="",
        files=_functions_framework,
        note=_NOTE,
        commands=lambda content: (
            f"""gcloud run deploy disdel --source . --function disdel_function \\
    --base-image python311 --concurrency 1 --memory {content.limits.memory_mb}Mi \\
    --timeout {content.limits.timeout_s} --max-instances {content.limits.instances} \\
    --no-allow-unauthenticated
disdel train digits --platform http --platform-option url=https://… \\
    --platform-option token_command="gcloud auth print-identity-token" --redis rediss://…"""
        ),
    ),
    "knative": Target(
        root="function/",
        files=_knative,
        note=_NOTE,
        commands=lambda _: (
            """func deploy --registry registry.example/team
disdel train digits --platform http --platform-option url=https://… --redis rediss://…"""
        ),
    ),
    "openfaas": Target(
        root="disdel-function/",
        files=_openfaas,
        note=_NOTE,
        commands=lambda _: (
            """faas-cli template store pull python3-http-debian
faas-cli up -f stack.yml
disdel train digits --platform http \\
    --platform-option url=http://127.0.0.1:8080/function/disdel-function --redis rediss://…"""
        ),
    ),
}
