"""Real S3-compatible servers, from the environment that scripts/platform-environments makes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from disdel.errors import StoreError
from disdel.store.objects.s3 import S3Store
from tests.support.ports import free_port, free_ports
from tests.support.waiting import wait_until

PROGRAMS = Path("build/environments/object-stores/bin")
KEY_ID, SECRET = "AKIDDISDEL", "a-secret/of+the-tests"
KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
BUCKET = "disdel-tests"
_NAMES = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


def program(name: str) -> str:
    """The path of a server's program; skips the test where it is not there."""
    path = (PROGRAMS / name).absolute()
    if not path.exists():
        pytest.skip(f"{name} is not there: scripts/platform-environments object-stores")
    return str(path)


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """A SeaweedFS, which checks signatures, expiry and conditions; the endpoint's URL."""
    weed = program("weed")
    identity = {"accessKey": KEY_ID, "secretKey": SECRET}
    config = folder / "s3.json"
    config.write_text(
        json.dumps({"identities": [{"name": "t", "credentials": [identity], "actions": _ACTIONS}]})
    )
    ports = dict(zip(_NAMES, free_ports(len(_NAMES)), strict=True))
    options = []
    for name, port in ports.items():
        server, _, kind = name.partition(".")
        options.append(f"-{server}.port{'.' if kind else ''}{kind}={port}")
    command = [weed, f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3"]
    command += ["-ip.bind=127.0.0.1", f"-s3.config={config}", "-volume.max=64", *options]
    command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    # What it would else have at fixed places.
    command += [f"-{name}.localSocket={folder}/{name}.sock" for name in ("filer", "s3")]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    try:
        with _running(command, folder) as log:
            url = f"http://127.0.0.1:{ports['s3']}"
            _ready(url, log)
            yield url
    finally:
        for socket_file in Path("/tmp").glob("seaweedfs-*.sock"):
            if socket_file.stem.rpartition("-")[2] in map(str, ports.values()):
                socket_file.unlink()


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """moto's server, which believes all signatures; the endpoint's URL."""
    server = program("moto_server")
    port = free_port()
    with _running([server, "-H", "127.0.0.1", "-p", str(port)], folder) as log:
        url = f"http://127.0.0.1:{port}"
        _ready(url, log)
        yield url


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[Path]:
    log = folder / "server.log"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield log
    finally:
        process.kill()
        process.wait()


def _ready(url: str, log: Path) -> None:
    """Wait until the bucket is there."""
    store = S3Store(address(url), environ=KEYS)

    def made() -> bool:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        failures = (OSError, http.client.HTTPException, StoreError)
        with contextlib.closing(connection), contextlib.suppress(*failures):
            connection.request("PUT", store._signer().target("PUT", f"/{BUCKET}"))
            if connection.getresponse().status in (200, 409):
                store.put("disdel:ready", b"x")
                store.delete("disdel:ready")
                return True
        return False

    try:
        wait_until(made)
    except AssertionError as error:
        error.add_note(log.read_text()[-3000:])
        raise
    finally:
        store.close()


def address(endpoint: str, prefix: str = "some/where") -> str:
    """The store in the bucket of the tests."""
    return f"s3://{BUCKET}/{prefix}?endpoint={endpoint}"
