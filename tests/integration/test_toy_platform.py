"""A platform that is one class of a test: nothing else is edited for it."""

import asyncio
import io
import json
import secrets
import sys
import time
import zipfile
from contextlib import asynccontextmanager

import disdel
from disdel.errors import ActivationLost, PlatformRejected
from disdel.platforms import registry
from disdel.platforms.base import Opened, Platform, Provider, Traits
from disdel.runtimes.registry import registered
from disdel.types import ActivationRecord, Capacity
from tests.support.numpy_runtime import NUMPY

CALL = """
import json, sys
from pathlib import Path
from disdel.entry.call import call
print(json.dumps(call(**json.load(sys.stdin), root=Path.cwd())))
"""


class Toy(Provider, Platform):
    """Each activation is a process of its own."""

    name = "toy"
    traits = Traits(host_packages=True)

    def __init__(self, folder):
        self._folder = folder
        self._packages = {}

    @asynccontextmanager
    async def open(self, settings, tell=None):
        yield Opened(platform=self, description="a toy")

    async def capacity(self):
        return Capacity(
            memory_min_mb=128,
            memory_max_mb=1024,
            timeout_max_s=300,
            concurrency=2,
            invokes_per_minute=600,
            cpus=2,
        )

    async def create_package(self, package, parameters):
        self._packages[package] = dict(parameters)

    async def create_action(self, package, action):
        zipfile.ZipFile(io.BytesIO(action.code)).extractall(self._folder / package / action.name)

    async def invoke(self, package, action, arguments, *, timeout_s=60.0, begun=None):
        if package not in self._packages:
            raise PlatformRejected(f"there is no {package}", status=404)
        activation_id, began_ms = secrets.token_hex(16), round(time.time() * 1000)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALL),
            cwd=self._folder / package / action,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        asked = {
            "action": action,
            "arguments": dict(arguments),
            "parameters": [self._packages[package]],
            "activation_id": activation_id,
            "deadline_ms": began_ms + round(timeout_s * 1000),
        }
        said, _ = await process.communicate(json.dumps(asked).encode())
        result = json.loads(said.splitlines()[-1])
        took_ms = round(time.time() * 1000) - began_ms
        return ActivationRecord(
            id=activation_id,
            action=action,
            start_ms=began_ms,
            duration_ms=took_ms,
            wait_ms=0,
            init_ms=took_ms,
            ending="application-error" if "error" in result else "success",
            result=result,
        )

    async def record(self, package, action, activation_id, *, timeout_s, begun=None):
        raise ActivationLost("there are none", activation_id=activation_id)

    async def logs(self, activation_id, *, within_s):
        return ()

    async def remove_package(self, package):
        self._packages.pop(package, None)

    def hurry(self):
        pass

    async def close(self):
        pass


def test_a_training_runs_on_a_platform_of_one_class(tmp_path):
    toy = Toy(tmp_path / "actions")
    registry.register(toy)
    try:
        with registered(NUMPY):
            trained = disdel.train(
                "digits",
                platform="toy",
                epochs=1,
                workers=2,
                runtime="numpy",
                model="mlp",
                optimizer="sgd",
                learning_rate=0.2,
                run_dir=tmp_path / "runs",
            )
    finally:
        registry.forget(toy)
    report = trained.report
    assert (report.status, report.platform, report.totals.failed) == ("ok", "toy", 0)
    assert report.accuracy > 0.5
