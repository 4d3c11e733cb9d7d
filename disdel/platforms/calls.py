"""What platforms share on which an entry of ours answers calls (`disdel/entry/answering.py`).

Their packages exist in the client alone: a call names its action's code by a digest, has the
parameters of package and action merged in, and its answer is the activation's record.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from disdel.errors import PlatformError, PlatformRejected
from disdel.platforms.base import ActionSpec, Begun
from disdel.protocol.calls import CALLS_VERSION, HELLO_FIELDS, code_digest
from disdel.types import ActivationRecord, Capacity
from disdel.types.names import Ending

HELLO = {"disdel": CALLS_VERSION, "do": "hello"}
# Of a platform that has not answered yet.
UNKNOWN = Capacity(
    memory_min_mb=1, memory_max_mb=1, timeout_max_s=1, concurrency=1, invokes_per_minute=1
)
# Of activations whose logs are kept for whoever asks.
_MOST_LOGS = 2000
_ENDINGS: dict[str, Ending] = {ending: ending for ending in get_args(Ending)}


@dataclass(frozen=True, slots=True)
class Deployed:
    """An action, and the zip of what of it travels with calls."""

    spec: ActionSpec
    code: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be sent, with the code or without."""

    activation_id: str
    action: str
    fields: Mapping[str, Any]
    code: bytes = field(repr=False)

    def text(self, *, with_code: bool = False) -> str:
        code = {"code": base64.b64encode(self.code).decode()} if with_code else {}
        return json.dumps({**self.fields, **code})


@dataclass(slots=True)
class Packages:
    """The packages of one client, and the logs of what it has run.

    Attributes:
        payload_bytes: the most JSON that an activation is given or answers.
        room_mb: the limits of all children of one worker, for each call that it runs.
    """

    payload_bytes: int
    room_mb: int
    _packages: dict[str, tuple[dict[str, object], dict[str, Deployed]]] = field(
        default_factory=dict
    )
    _logs: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)

    def create(self, package: str, parameters: Mapping[str, object]) -> None:
        self._packages[package] = (dict(parameters), {})

    def add(self, package: str, action: ActionSpec, code: bytes) -> None:
        """Create an action whose calls carry `code`.

        Raises:
            PlatformRejected: there is no such package.
        """
        if package not in self._packages:
            raise PlatformRejected(f"there is no package {package}", status=404)
        self._packages[package][1][action.name] = Deployed(action, code, code_digest(code))

    def names(self) -> list[str]:
        return list(self._packages)

    def remove(self, package: str) -> str:
        """Remove a package; what lets the workers that it reaches end its children at once.

        Those of others end when nobody has called them for some time.
        """
        self._packages.pop(package, None)
        return json.dumps({"disdel": CALLS_VERSION, "do": "forget", "prefix": f"{package}/"})

    def find(self, package: str, action: str) -> ActionSpec:
        """An action.

        Raises:
            PlatformRejected: there is none of that name.
        """
        return self._deployed(package, action).spec

    def call(
        self, package: str, action: str, arguments: Mapping[str, object], *, timeout_s: float
    ) -> Call:
        """A new call.

        Raises:
            PlatformRejected: there is no such action, or the arguments are too long.
        """
        deployed = self._deployed(package, action)
        parameters = self._packages[package][0]
        merged = {**parameters, **deployed.spec.parameters, **arguments}
        size = len(json.dumps(merged))
        if size > self.payload_bytes:
            raise PlatformRejected(
                f"the arguments of {action} are {size} bytes of JSON, and the platform takes "
                f"{self.payload_bytes}",
                status=413,
            )
        activation_id = secrets.token_hex(16)
        fields = {
            "disdel": CALLS_VERSION,
            "do": "call",
            "activation_id": activation_id,
            # A child serves one action of one package, and none that was made anew since.
            "key": f"{package}/{action}/{deployed.digest[:16]}/{deployed.spec.memory_mb}",
            "action": _folder_of(action),
            "digest": deployed.digest,
            "arguments": merged,
            "timeout_s": timeout_s,
            "memory_mb": deployed.spec.memory_mb,
            "reply_bytes": self.payload_bytes,
            "room_mb": max(self.room_mb, deployed.spec.memory_mb),
        }
        return Call(activation_id, action, fields, deployed.code)

    def note(self, call: Call, reply: Mapping[str, Any], *, wait_ms: int) -> ActivationRecord:
        """The record in a reply, whose log is kept.

        Raises:
            PlatformRejected: the entry refuses the call.
            PlatformError: it is no reply to it.
        """
        if "refused" in reply:
            status = reply.get("status")
            raise PlatformRejected(
                str(reply["refused"]), status=status if isinstance(status, int) else 400
            )
        try:
            init_ms = reply["init_ms"]
            record = ActivationRecord(
                id=str(reply["activation_id"]),
                action=call.action,
                start_ms=int(reply["start_ms"]),
                duration_ms=int(reply["duration_ms"]),
                wait_ms=max(0, wait_ms),
                init_ms=None if init_ms is None else int(init_ms),
                ending=_ENDINGS[reply["ending"]],
                result=reply["result"],
                logs=tuple(map(str, reply["logs"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PlatformError(f"the answer to {call.action} is no record: {error!r}") from error
        self._keep_log(record.id, record.logs)
        return record

    def lost(
        self,
        call: Call,
        ending: Ending,
        why: str,
        *,
        began_s: float,
        now_s: float,
        begun: Begun | None = None,
    ) -> ActivationRecord:
        """The record of a call that was not answered: what the store has of it, or else why."""
        result: object = {"error": why}
        if begun is not None and begun.result is not None:
            result = begun.result
            ending = "application-error" if "error" in begun.result else "success"
        self._keep_log(call.activation_id, ())
        return ActivationRecord(
            id=call.activation_id if begun is None else begun.activation_id,
            action=call.action,
            start_ms=round(began_s * 1000),
            duration_ms=round((now_s - began_s) * 1000),
            wait_ms=0,
            # A container that is not known of is not counted.
            init_ms=None,
            ending=ending,
            result=result,
        )

    def logs(self, activation_id: str) -> tuple[str, ...]:
        """The log of an activation that has ended; nothing where it got lost."""
        return self._logs.get(activation_id, ())

    def _keep_log(self, activation_id: str, lines: tuple[str, ...]) -> None:
        self._logs[activation_id] = lines
        while len(self._logs) > _MOST_LOGS:
            self._logs.popitem(last=False)

    def _deployed(self, package: str, action: str) -> Deployed:
        _, actions = self._packages.get(package, ({}, {}))
        if action not in actions:
            raise PlatformRejected(f"there is no {package}/{action}", status=404)
        return actions[action]


def _folder_of(action: str) -> str:
    """The name of an action's folder; sizes of it stand behind."""
    return action.partition("-")[0]


def check_hello(reply: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What an entry says of itself, if it speaks as this version does.

    Args:
        reply: to `HELLO`.
        where: it is, for a message.

    Raises:
        PlatformRejected: it speaks otherwise.
    """
    theirs = reply.get("disdel")
    if "refused" in reply or theirs != CALLS_VERSION:
        said = reply.get("refused") or f"it answers in version {theirs!r} of disdel's calls"
        raise PlatformRejected(f"{where} refuses the handshake: {said}", status=409)
    if missing := HELLO_FIELDS - reply.keys():
        raise PlatformRejected(
            f"{where} does not tell {', '.join(sorted(missing))}: update disdel there", status=409
        )
    return reply
