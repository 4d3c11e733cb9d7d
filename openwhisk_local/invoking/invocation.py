"""An accepted invocation, and what its container is told about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openwhisk_local.containers.images import image_key
from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import Code
from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import NAMESPACE
from openwhisk_local.invoking.activations import Record
from openwhisk_local.units import MIB


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who invokes, as far as an action may learn it."""

    transaction_id: str
    api_key: str
    namespace: str = NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """An accepted invocation of an action or a sequence; `done` takes the record."""

    id: str
    done: asyncio.Future[Record]

    async def wait(self, timeout_s: float) -> Record | None:
        """The record, or None when it is not there in time; the activation goes on."""
        done, _ = await asyncio.wait([self.done], timeout=timeout_s)
        return self.done.result() if done else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Invocation(Pending):
    """An accepted invocation of an action, for the pool.

    `value` is what the action receives, as JSON text, which costs what it is long while the
    invocation waits; `env` are the parameters that `/init` gets as environment variables instead.
    `binding` is the path of the package binding that it was asked for through,
    `cause` the id of the sequence that it is a part of. `keep` keeps its record, and `ended`
    follows `done`, when its log and record are kept.
    """

    caller: Caller
    action: Action
    code: Code
    warm_key: str
    value: bytes
    env: Mapping[str, Json]
    received_ms: int
    binding: str | None
    cause: str | None
    keep: Callable[[Record], None]
    ended: asyncio.Future[None]

    @property
    def memory_mb(self) -> int:
        return self.action.limits.memory_mb

    @property
    def logs_bytes(self) -> int:
        return self.action.limits.logs_mb * MIB

    @property
    def image(self) -> str:
        return self.code.image or ""

    @property
    def image_key(self) -> str:
        return image_key(self.code.kind, self.code.image)

    def context(self) -> dict[str, str]:
        """What the action may know about itself; the deadline counts from now."""
        context = {
            "namespace": self.caller.namespace,
            "action_name": f"/{self.action.id.path}",
            "action_version": self.action.version,
            "activation_id": self.id,
            "transaction_id": self.caller.transaction_id,
            "deadline": str(now_ms() + self.action.limits.timeout_ms),
        }
        if self.action.wants_api_key:
            context["api_key"] = self.caller.api_key
        return context

    def init_body(self) -> bytes:
        """The body of the `/init` that its container is sent."""
        value: dict[str, Json] = {
            "name": self.action.name,
            "main": self.code.main or "main",
            "binary": self.code.binary,
            "env": {
                **{key: _env_text(parameter) for key, parameter in self.env.items()},
                **{f"__OW_{key.upper()}": text for key, text in self.context().items()},
            },
        }
        code = self.code.code
        if code is not None and not self.code.binary:
            value["code"] = code
        body = compact_json({"value": value})
        if code is not None and self.code.binary:
            # Nothing in base64 needs an escape, and looking for one in megabytes takes its time.
            body = b'%b,"code":"%b"}}' % (body[:-2], code.strip().encode())
        return body

    def run_body(self) -> bytes:
        return b'{"value":%b,%b' % (self.value, compact_json(self.context())[1:])


def _env_text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else compact_json(value).decode()
