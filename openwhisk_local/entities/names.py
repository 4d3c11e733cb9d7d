"""What an entity may be called, and how its place is written.

Namespaces see nothing of each other. An entity lies in one directly or in one of its packages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from openwhisk_local.replies import (
    ILLEGAL_NAME,
    ILLEGAL_NAMESPACE,
    NOT_QUALIFIED,
    ApiError,
    forbidden,
    malformed,
    name_too_long,
    namespace_too_long,
)

NAMESPACE = "guest"
# Stands for the caller's namespace in paths.
DEFAULT_NAMESPACE = "_"
MAX_NAME = 256

NOT_A_NAME = "fully qualified name malformed"
# A namespace, a package, a name, and slashes to spare.
_MAX_PATH = 4 * MAX_NAME

_NAME = re.compile(r"\w|\w[\w@ .&-]{0,254}[\w@.&-]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Name:
    """The place of an entity, in the namespace `space`; `package` is None outside of packages."""

    package: str | None
    name: str
    space: str = NAMESPACE

    def beside(self, name: str, package: str | None = None) -> Name:
        """Another place in the same namespace."""
        return Name(package, name, self.space)

    @property
    def namespace(self) -> str:
        """The namespace as an entity shows it, package included."""
        return f"{self.space}/{self.package}" if self.package else self.space

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}"

    def to_binding(self) -> dict[str, str]:
        return {"namespace": self.space, "name": self.name}

    def to_wire(self) -> dict[str, str]:
        return {"path": self.namespace, "name": self.name}


def check_name(name: str) -> str:
    """`name`, if an entity may be called that; raises `ApiError` 400 otherwise."""
    if len(name) > MAX_NAME:
        raise name_too_long(len(name), MAX_NAME)
    if not _NAME.fullmatch(name):
        raise ApiError(400, ILLEGAL_NAME)
    return name


def check_namespace(name: str) -> str:
    """`name`, if a namespace may be called that; raises `ApiError` 400 otherwise."""
    if len(name) > MAX_NAME:
        raise namespace_too_long(len(name), MAX_NAME)
    if not _NAME.fullmatch(name):
        raise ApiError(400, ILLEGAL_NAMESPACE)
    return name


def is_path(text: str) -> bool:
    """Whether `text` is one or more names with slashes between, before or behind them."""
    if len(text) > _MAX_PATH:
        return False
    parts = [part for part in text.split("/") if part]
    return bool(parts) and all(_NAME.fullmatch(part) for part in parts)


def read_reference(wire: object, own: str = NAMESPACE) -> Name:
    """The entity that a request names in full, as a text or in two parts, as it is shown.

    Raises:
        ApiError: 400 if that is no name, 403 if it lies in somebody else's namespace.
    """
    if isinstance(wire, Mapping):
        path, name = wire.get("path"), wire.get("name")
        if not isinstance(path, str) or not isinstance(name, str) or not _NAME.fullmatch(name):
            raise malformed(NOT_A_NAME)
        return read_name(f"{path}/{name}", own)
    return read_name(wire, own)


def read_name(text: object, own: str = NAMESPACE) -> Name:
    """The entity that a request names in full, as `/namespace/[package/]name`.

    Args:
        text: what it says.
        own: the namespace of whoever says it.

    Raises:
        ApiError: 400 if that is no name, 403 if it lies in somebody else's namespace.
    """
    if not isinstance(text, str):
        raise malformed(NOT_A_NAME)
    if len(text) > _MAX_PATH:
        raise malformed(f"requirement failed: path contains invalid parts {text[:MAX_NAME]}…")
    parts = [part for part in text.split("/") if part]
    for part in parts:
        if not _NAME.fullmatch(part):
            raise malformed(f"requirement failed: path contains invalid parts {text}")
    if len(parts) < 2:
        raise malformed(f"requirement failed: {NOT_QUALIFIED}")
    namespace, *package, name = parts
    if namespace not in (DEFAULT_NAMESPACE, own):
        raise forbidden("/".join(parts))
    return Name("/".join(package) or None, name, own)
