"""Packages and bindings: what a PUT may say and what it makes of the old package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.fields import (
    FIRST_VERSION,
    Annotations,
    CommonPut,
    Json,
    Parameters,
    next_version,
    pairs_to_wire,
    parameters_to_wire,
    read_common,
)
from openwhisk_local.entities.names import DEFAULT_NAMESPACE, NAMESPACE, Name, check_name
from openwhisk_local.replies import (
    PACKAGE_NOT_BINDING,
    ApiError,
    forbidden,
    malformed,
    object_expected,
    package_reserved,
)

RESERVED = "default"
_BINDING = "binding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package, or with `binding` another package's actions under a name of its own.

    Args:
        binding: the name of the package that is bound.
    """

    id: Name
    binding: str | None
    parameters: Parameters
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int

    @property
    def name(self) -> str:
        return self.id.name

    def to_wire(self, *, inherited: Parameters | None = None) -> dict[str, Json]:
        """The entity; `inherited` parameters of a bound package are shown under its own."""
        return {
            "namespace": self.id.space,
            "name": self.name,
            "binding": self.id.beside(self.binding).to_binding() if self.binding else {},
            "parameters": parameters_to_wire({**(inherited or {}), **self.parameters}),
            "version": self.version,
            "publish": self.publish,
            "annotations": pairs_to_wire(self.annotations),
            "updated": self.updated_ms,
        }

    def summary(self) -> dict[str, Json]:
        wire = self.to_wire()
        wire[_BINDING] = wire[_BINDING] or False
        del wire["parameters"]
        return wire


@dataclass(frozen=True, slots=True)
class PackagePut:
    """The checked content of a PUT of a package."""

    common: CommonPut
    binding: str | None


def read_package_put(name: str, wire: Mapping[str, Json], own: str = NAMESPACE) -> PackagePut:
    """Check everything about a PUT that does not depend on what is stored.

    Raises:
        ApiError: 400 malformed, 403 the binding is to somebody else's package, 413 a field is too
            large.
    """
    if name == RESERVED:
        raise package_reserved(name)
    return PackagePut(read_common(wire), _read_binding(wire.get(_BINDING, {}), own))


def _read_binding(wire: Json, own: str) -> str | None:
    if wire == {}:
        return None
    if not isinstance(wire, Mapping):
        raise object_expected("namespace")
    for field in ("namespace", "name"):
        if not isinstance(wire.get(field), str):
            raise malformed(f"Object is missing required member '{field}'")
    if wire["namespace"] not in (DEFAULT_NAMESPACE, own):
        raise forbidden(f"{wire['namespace']}/{wire['name']}")
    return check_name(wire["name"])


def put_package(name: Name, put: PackagePut, old: Package | None, now_ms: int) -> Package:
    """The package that a PUT makes: a new one, or `old` with the given fields replaced.

    Raises:
        ApiError: 409, a package was to become a binding.
    """
    common = put.common
    if old is None:
        return _annotated(
            Package(
                id=name,
                binding=put.binding,
                parameters=common.parameters or {},
                annotations=common.annotations or {},
                version=common.version or FIRST_VERSION,
                publish=bool(common.publish),
                updated_ms=now_ms,
            )
        )
    if put.binding and not old.binding:
        raise ApiError(409, PACKAGE_NOT_BINDING)
    return _annotated(
        replace(
            old,
            binding=put.binding or old.binding,
            parameters=old.parameters if common.parameters is None else common.parameters,
            annotations=old.annotations if common.annotations is None else common.annotations,
            publish=old.publish if common.publish is None else common.publish,
            version=common.version or next_version(old.version),
            updated_ms=now_ms,
        )
    )


def _annotated(package: Package) -> Package:
    """`package` with the annotation by which lists tell bindings, which is nobody's to write."""
    annotations = {key: value for key, value in package.annotations.items() if key != _BINDING}
    if package.binding:
        annotations[_BINDING] = package.id.beside(package.binding).to_binding()
    return replace(package, annotations=annotations)


def contents_to_wire(actions: Iterable[Action]) -> dict[str, list[Json]]:
    """What the view of a package says of its actions; those with a `feed` annotation are feeds."""
    contents: dict[str, list[Json]] = {"actions": [], "feeds": []}
    for action in actions:
        wire = action.summary()
        entry = {key: wire[key] for key in ("name", "version", "annotations")}
        contents["feeds" if "feed" in action.annotations else "actions"].append(entry)
    return contents
