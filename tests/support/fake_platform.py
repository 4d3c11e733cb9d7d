"""A platform inside this process, for tests of the controller: actions are Python functions."""

import asyncio
import contextlib
import itertools

from disdel.controller.session import Session
from disdel.errors import ActivationLost, PlatformRejected
from disdel.platforms.base import Platform
from disdel.platforms.openwhisk.limits import NAMES
from disdel.platforms.openwhisk.outcomes import ending_of
from disdel.types import ActivationRecord, Capacity
from disdel.types.events import silent

CAPACITY = Capacity(
    memory_min_mb=128,
    memory_max_mb=4096,
    timeout_max_s=300,
    concurrency=100,
    invokes_per_minute=6000,
    pool_memory_mb=16_384,
    cpus=2,
    kinds=("python:3.11",),
    names=NAMES,
)


class FakePlatform(Platform):
    """Runs `handlers[action](arguments)` in a thread; arguments include the package's parameters.

    A handler that returns an `ActivationRecord` decides how its activation ends.
    """

    def __init__(self, handlers, capacity=CAPACITY):
        self.handlers = handlers
        self.packages = {}
        self.actions = {}
        self.invoked = []
        self._capacity = capacity
        self._ids = itertools.count(1)
        self._cold = set()

    async def capacity(self):
        return self._capacity

    async def create_package(self, package, parameters):
        self.packages[package] = dict(parameters)

    async def create_action(self, package, action):
        self.actions[package, action.name] = action

    async def invoke(self, package, action, arguments, *, timeout_s=60.0, begun=None):
        if (package, action) not in self.actions:
            raise PlatformRejected("The requested resource does not exist.", status=404)
        own = self.actions[package, action].parameters
        merged = {**self.packages[package], **own, **arguments}
        self.invoked.append((action, merged))
        # The same code in another size has the size in its name.
        handler = self.handlers[action.partition("@")[0].partition("-")[0]]
        result = await asyncio.to_thread(handler, merged)
        if isinstance(result, ActivationRecord):
            return result
        cold = (action, merged.get("worker")) not in self._cold
        self._cold.add((action, merged.get("worker")))
        return activation(next(self._ids), action, result, init_ms=5 if cold else None)

    async def record(self, package, action, activation_id, *, timeout_s, begun=None):
        raise ActivationLost("there are no records here", activation_id=activation_id)

    async def logs(self, activation_id, *, within_s=10.0):
        return (f"stdout: log of {activation_id}",)

    async def remove_package(self, package):
        self.packages.pop(package, None)
        self.actions = {key: value for key, value in self.actions.items() if key[0] != package}

    def hurry(self):
        pass

    async def close(self):
        pass


def sessions_of(platform, store, redis_url, capacity=CAPACITY):
    """What opens sessions in the place of `open_session`, on servers that outlive them."""

    @contextlib.asynccontextmanager
    async def session(settings, emit=silent, *, provider=None):
        del provider
        yield Session(
            platform=platform,
            platform_name="embedded",
            description="a fake",
            capacity=capacity,
            store=store,
            store_url=redis_url,
            lasting_address="http://fake",
            lasting_store=redis_url,
        )

    return session


def activation(number, action, result, *, init_ms=None, status="success", timed_out=False):
    """A record with the result of an action."""
    if status == "success" and "error" in result:
        status = "application error"
    return ActivationRecord(
        id=f"{number:032x}",
        action=action,
        start_ms=1000 * number,
        duration_ms=100,
        wait_ms=1,
        init_ms=init_ms,
        ending=ending_of(status, result, timed_out=timed_out),
        result=result,
    )
