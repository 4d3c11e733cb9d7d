"""Actions: what a PUT may say and what it makes of the old action."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from openwhisk_local.entities.execs import Code, Exec, Sequence, read_exec
from openwhisk_local.entities.fields import (
    FIRST_VERSION,
    Annotations,
    CommonPut,
    Json,
    Parameter,
    Parameters,
    check_size,
    next_version,
    pair_bytes,
    pairs_to_wire,
    parameters_to_wire,
    read_common,
)
from openwhisk_local.entities.names import NAMESPACE, Name
from openwhisk_local.limits import ActionLimits, PlatformLimits, action_limits
from openwhisk_local.replies import NO_EXEC, ApiError, malformed, object_expected


@dataclass(frozen=True, kw_only=True)
class Action:
    id: Name
    exec: Exec
    parameters: Parameters
    limits: ActionLimits
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int

    @property
    def name(self) -> str:
        return self.id.name

    def to_wire(
        self,
        *,
        with_code: bool = True,
        inherited: Parameters | None = None,
        binding: str | None = None,
    ) -> Json:
        """The entity; `inherited` parameters of its package are shown under its own."""
        wire = {
            "namespace": self.id.namespace,
            "name": self.name,
            "exec": self.exec.to_wire(with_code=with_code),
            "parameters": parameters_to_wire({**(inherited or {}), **self.parameters}),
            "limits": self.limits.to_wire(),
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "updated": self.updated_ms,
        }
        return wire if binding is None else {**wire, "binding": binding}

    def summary(self) -> dict[str, Json]:
        """What a list of actions has of it."""
        return {
            "namespace": self.id.namespace,
            "name": self.name,
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "limits": self.limits.to_wire(),
            "exec": {"binary": self.exec.binary},
            "updated": self.updated_ms,
        }

    @cached_property
    def warm_key(self) -> str:
        """Equal for actions that may share a container: equal in everything but the time."""
        wire = self.to_wire(with_code=False)
        del wire["updated"]
        digest = hashlib.sha256(json.dumps(wire, sort_keys=True).encode())
        if isinstance(self.exec, Code):
            digest.update((self.exec.code or "").encode())
        return digest.hexdigest()

    @property
    def wants_api_key(self) -> bool:
        """Whether the caller's key is handed to the code; only a written refusal withholds it."""
        return self.annotations.get("provide-api-key", True) is not False

    @property
    def is_final(self) -> bool:
        """Whether a caller may not change parameters that have a value."""
        return self.annotations.get("final") is True


@dataclass(frozen=True, slots=True)
class ActionPut:
    """The checked content of a PUT of an action; None is what was left out."""

    exec: Exec | None
    limits: Mapping[str, Json]
    common: CommonPut
    deleted_annotations: frozenset[str]


def read_action_put(wire: Mapping[str, Json], own: str = NAMESPACE) -> ActionPut:
    """Check everything about a PUT that does not depend on what is stored.

    Raises:
        ApiError: 400 malformed, 403 a component of a sequence is somebody else's, 413 a field is
            too large.
    """
    limits = wire.get("limits")
    if not isinstance(limits, Mapping | None):
        raise object_expected("timeout")
    deleted = wire.get("delAnnotations") or []
    if not (isinstance(deleted, list) and all(isinstance(key, str) for key in deleted)):
        raise malformed("delAnnotations malformed!")
    return ActionPut(
        exec=None if wire.get("exec") is None else read_exec(wire["exec"], own),
        limits=limits or {},
        common=read_common(wire),
        deleted_annotations=frozenset(deleted),
    )


def put_action(
    name: Name, put: ActionPut, old: Action | None, allowed: PlatformLimits, now_ms: int
) -> Action:
    """The action that a PUT makes: a new one, or `old` updated as OpenWhisk updates.

    Limits and annotations are merged field by field, code and parameters replaced.

    Raises:
        ApiError: 400, a limit is out of range or a new action has no `exec`; 413, its annotations
            became too large.
    """
    limits = action_limits(put.limits, allowed, old.limits if old else None)
    executed = put.exec or (old.exec if old else None)
    if executed is None:
        raise ApiError(400, NO_EXEC)
    common = put.common
    given = common.annotations or {}
    if old is None:
        annotations = {**given, "provide-api-key": given.get("provide-api-key", False)}
    else:
        kept = {k: v for k, v in old.annotations.items() if k not in put.deleted_annotations}
        annotations = {**kept, **given}
        # Each update may add as much as one may have.
        check_size("annotations", sum(pair_bytes(k, v) for k, v in annotations.items()))
    unchanged_publish = old.publish if old else False
    return Action(
        id=name,
        exec=executed,
        parameters=_parameters(executed, common.parameters, old),
        limits=limits,
        annotations={
            **{key: value for key, value in annotations.items() if key != "exec"},
            "exec": executed.kind,
        },
        version=common.version or (next_version(old.version) if old else FIRST_VERSION),
        publish=unchanged_publish if common.publish is None else common.publish,
        updated_ms=now_ms,
    )


def _parameters(executed: Exec, given: Parameters | None, old: Action | None) -> Parameters:
    """A sequence has its components as its one parameter, and never passes it on."""
    if isinstance(executed, Sequence):
        return {"_actions": Parameter(executed.paths)}
    if given is not None:
        return given
    return old.parameters if old and not isinstance(old.exec, Sequence) else {}
