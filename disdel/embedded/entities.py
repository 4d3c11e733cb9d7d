"""Packages and actions: what a PUT may say, what it makes of the old entity, how both look.

Everything here is a value. The platform knows one namespace, so an entity is named by its package
(None for the namespace's own actions) and its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from disdel.embedded.images import BLACKBOX, KINDS, is_image_name, resolve_kind
from disdel.embedded.limits import (
    MAX_CODE_BYTES,
    MAX_PARAMETERS_BYTES,
    ActionLimits,
    PlatformLimits,
    action_limits,
)
from disdel.embedded.replies import (
    ILLEGAL_NAME,
    NO_BINDINGS,
    NO_SEQUENCES,
    ApiError,
    malformed,
    name_too_long,
    package_reserved,
    too_large,
)

NAMESPACE = "guest"
MAX_NAME = 256
FIRST_VERSION = "0.0.1"

_NAME = re.compile(r"\w|\w[\w@ .&-]{0,254}[\w@.&-]", re.ASCII)
_BASE64_TEXT = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)

# A JSON value, as `json` gives it.
Json = Any


def check_name(name: str) -> str:
    """`name`, if an entity may be called that; raises `ApiError` 400 otherwise."""
    if len(name) > MAX_NAME:
        raise name_too_long(len(name), MAX_NAME)
    if not _NAME.fullmatch(name):
        raise ApiError(400, ILLEGAL_NAME)
    return name


def next_version(version: str) -> str:
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A stored value; one that is `init` becomes an environment variable at `/init` instead."""

    value: Json
    init: bool = False


Parameters = Mapping[str, Parameter]
Annotations = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Exec:
    """What an action executes. `binary` is computed from the code, whatever the client says."""

    kind: str
    code: str | None
    main: str | None = None
    image: str | None = None

    @property
    def binary(self) -> bool:
        """Whether the code is a base64 archive: one line of whole base64 quanta."""
        text = (self.code or "").strip()
        return len(text) % 4 == 0 and _BASE64_TEXT.fullmatch(text) is not None

    def to_wire(self, *, with_code: bool = True) -> dict[str, Json]:
        optional = {"image": self.image, "main": self.main, "code": self.code}
        wire: dict[str, Json] = {"kind": self.kind, "binary": self.binary}
        wire |= {key: text for key, text in optional.items() if text is not None}
        if not with_code:
            wire.pop("code", None)
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    parameters: Parameters
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int

    def to_wire(self) -> dict[str, Json]:
        return {
            "namespace": NAMESPACE,
            "name": self.name,
            "binding": {},
            "parameters": parameters_to_wire(self.parameters),
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "updated": self.updated_ms,
        }

    def summary(self) -> dict[str, Json]:
        wire = self.to_wire() | {"binding": False}
        del wire["parameters"]
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    package: str | None
    name: str
    exec: Exec
    parameters: Parameters
    limits: ActionLimits
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int

    @property
    def namespace(self) -> str:
        """The namespace as an entity shows it, package included."""
        return f"{NAMESPACE}/{self.package}" if self.package else NAMESPACE

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}"

    def to_wire(self, *, with_code: bool = True, inherited: Parameters | None = None) -> Json:
        """The entity; `inherited` parameters of its package are shown under its own."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "exec": self.exec.to_wire(with_code=with_code),
            "parameters": parameters_to_wire({**(inherited or {}), **self.parameters}),
            "limits": self.limits.to_wire(),
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "updated": self.updated_ms,
        }

    def summary(self) -> dict[str, Json]:
        return {
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "limits": self.limits.to_wire(),
            "exec": {"binary": self.exec.binary},
            "updated": self.updated_ms,
        }

    def warm_key(self) -> str:
        """Equal for actions that may share a container: equal in everything but the time."""
        wire = self.to_wire()
        del wire["updated"]
        return hashlib.sha256(json.dumps(wire, sort_keys=True).encode()).hexdigest()

    @property
    def wants_api_key(self) -> bool:
        """Whether the caller's key is handed to the code; only a written refusal withholds it."""
        return self.annotations.get("provide-api-key", True) is not False


def put_package(name: str, wire: Mapping[str, Json], old: Package | None, now_ms: int) -> Package:
    """The package that a PUT makes: a new one, or `old` with the given fields replaced.

    Raises:
        ApiError: 400 or 413, the request cannot become a package.
    """
    if name == "default":
        raise package_reserved(name)
    if wire.get("binding"):
        raise malformed(NO_BINDINGS)
    parameters = _parameters(wire)
    annotations = _annotations(wire)
    publish = _publish(wire)
    version = _version(wire)
    if old is None:
        return Package(
            name=name,
            parameters=parameters or {},
            annotations=annotations or {},
            version=version or FIRST_VERSION,
            publish=bool(publish),
            updated_ms=now_ms,
        )
    return replace(
        old,
        parameters=old.parameters if parameters is None else parameters,
        annotations=old.annotations if annotations is None else annotations,
        publish=old.publish if publish is None else publish,
        version=version or next_version(old.version),
        updated_ms=now_ms,
    )


@dataclass(frozen=True, slots=True)
class ActionPut:
    """The checked content of a PUT of an action; None is what was left out."""

    exec: Exec | None
    parameters: Parameters | None
    limits: Mapping[str, Json]
    annotations: Annotations | None
    deleted_annotations: tuple[str, ...]
    version: str | None
    publish: bool | None


def read_action_put(wire: Mapping[str, Json]) -> ActionPut:
    """Check everything about a PUT that does not depend on what is stored.

    Raises:
        ApiError: 400 malformed, 413 a field is too large.
    """
    limits = wire.get("limits")
    if not isinstance(limits, Mapping | None):
        raise malformed("limits malformed!")
    deleted = wire.get("delAnnotations") or []
    if not (isinstance(deleted, list) and all(isinstance(key, str) for key in deleted)):
        raise malformed("delAnnotations malformed!")
    return ActionPut(
        exec=None if wire.get("exec") is None else read_exec(wire["exec"]),
        parameters=_parameters(wire),
        limits=limits or {},
        annotations=_annotations(wire),
        deleted_annotations=tuple(deleted),
        version=_version(wire),
        publish=_publish(wire),
    )


def put_action(
    package: str | None,
    name: str,
    put: ActionPut,
    old: Action | None,
    allowed: PlatformLimits,
    now_ms: int,
) -> Action:
    """The action that a PUT makes: a new one, or `old` updated as OpenWhisk updates.

    Limits and annotations are merged field by field, code and parameters replaced.

    Raises:
        ApiError: 400, a limit is out of range or a new action has no `exec`.
    """
    limits = action_limits(put.limits, allowed, old.limits if old else None)
    executed = put.exec or (old.exec if old else None)
    if executed is None:
        raise ApiError(400, "exec undefined")
    given = put.annotations or {}
    if old is None:
        parameters = put.parameters or {}
        annotations = {"provide-api-key": False, **given}
    else:
        parameters = old.parameters if put.parameters is None else put.parameters
        kept = {k: v for k, v in old.annotations.items() if k not in put.deleted_annotations}
        annotations = {**kept, **given}
    unchanged_publish = old.publish if old else False
    return Action(
        package=package,
        name=name,
        exec=executed,
        parameters=parameters,
        limits=limits,
        annotations={**annotations, "exec": executed.kind},
        version=put.version or (next_version(old.version) if old else FIRST_VERSION),
        publish=unchanged_publish if put.publish is None else put.publish,
        updated_ms=now_ms,
    )


def read_exec(wire: Json) -> Exec:
    """The `exec` of a request.

    Raises:
        ApiError: 400 for an unknown kind, image or shape, 413 for too much code.
    """
    if not isinstance(wire, Mapping) or not isinstance(kind := wire.get("kind"), str):
        raise malformed("'kind' must be a string defined in 'exec'.")
    code, main, image = wire.get("code"), wire.get("main"), wire.get("image")
    if main is not None and not isinstance(main, str):
        raise malformed("if defined, 'main' be a string in 'exec'.")
    kind = kind.lower()
    if kind == "sequence":
        raise malformed(NO_SEQUENCES)
    if kind == BLACKBOX:
        if not isinstance(image, str):
            raise malformed("'image' must be a string defined in 'exec' for 'blackbox' actions.")
        if not is_image_name(image):
            raise malformed("could not parse image name")
        if not isinstance(code, str | None):
            raise malformed("'code' must be a string in 'exec' for 'blackbox' actions.")
        executed = Exec(kind, code or None, main, image)
    else:
        concrete = resolve_kind(kind)
        if concrete is None:
            known = ", ".join(f"'{each}'" for each in sorted(KINDS))
            raise malformed(
                f"The specified runtime '{kind}' is not supported by this platform. "
                f"Valid values are: {known}."
            )
        if not isinstance(code, str):
            raise malformed(f"'code' must be a string defined in 'exec' for '{kind}' actions.")
        executed = Exec(concrete, code, main)
    size = len((code or "").encode()) + len((main or "").encode())
    if size > MAX_CODE_BYTES:
        raise too_large("exec", size, MAX_CODE_BYTES)
    return executed


def _parameters(wire: Mapping[str, Json]) -> Parameters | None:
    pairs = _pairs(wire, "parameters")
    if pairs is None:
        return None
    return {
        pair["key"]: Parameter(pair["value"], init=pair.get("init", False) is True)
        for pair in pairs
    }


def _annotations(wire: Mapping[str, Json]) -> Annotations | None:
    pairs = _pairs(wire, "annotations")
    return None if pairs is None else {pair["key"]: pair["value"] for pair in pairs}


def _pairs(wire: Mapping[str, Json], field: str) -> list[dict[str, Json]] | None:
    pairs = wire.get(field)
    if pairs is None:
        return None
    if not isinstance(pairs, list):
        raise malformed(f"{field} malformed!")
    size = 0
    for pair in pairs:
        if not isinstance(pair, dict) or "value" not in pair:
            raise malformed(f"{field} malformed!")
        key = pair.get("key")
        if not isinstance(key, str) or not key:
            raise malformed(f"{field} malformed!")
        size += len(key.encode()) + len(compact_json(pair["value"]))
    if size > MAX_PARAMETERS_BYTES:
        raise too_large(field, size, MAX_PARAMETERS_BYTES)
    return pairs


def _publish(wire: Mapping[str, Json]) -> bool | None:
    publish = wire.get("publish")
    if not isinstance(publish, bool | None):
        raise malformed(f"Expected JsBoolean, but got {compact_json(publish).decode()}")
    return publish


def _version(wire: Mapping[str, Json]) -> str | None:
    version = wire.get("version")
    if version is not None and not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise malformed("requirement failed: bad semantic version")
    return version


def compact_json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def parameters_to_wire(parameters: Parameters) -> list[dict[str, Json]]:
    return [
        {"key": key, "value": parameter.value} | ({"init": True} if parameter.init else {})
        for key, parameter in parameters.items()
    ]


def pairs_to_wire(pairs: Mapping[str, Json]) -> list[dict[str, Json]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]
