"""A folder that another platform's own tool deploys: the library, the entry, the platform's words.

What is in a platform's words is a `Target`, in the platform's folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import disdel
from disdel.protocol.calls import DEPLOYED, library_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is asked of the platform for an instance.

    Attributes:
        memory_mb: of an instance.
        timeout_s: of a call.
        instances: how many there may be.
    """

    memory_mb: int
    timeout_s: int
    instances: int


# Where nobody says what an instance is to have.
ORDINARY = Limits(memory_mb=2048, timeout_s=300, instances=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a folder is to have.

    Attributes:
        limits: of an instance.
        python: the version, as `3.11`.
        packages: what actions import, with versions as pip takes them.
        framework: what train actions import beside that, likewise.
        runtime: what train actions compute with.
        base_image: the name of the image of those that need no framework.
        image: that of the train actions; "" where they need none.
        environment: of their processes.
    """

    limits: Limits
    python: str
    packages: tuple[str, ...]
    framework: tuple[str, ...]
    runtime: str
    base_image: str
    image: str
    environment: Mapping[str, str]

    @property
    def all_packages(self) -> tuple[str, ...]:
        return (*self.packages, *self.framework)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A platform that can be exported to.

    Attributes:
        root: the folder of the library and the entry, within the export.
        files: what else there is, by path, of limits and the packages that are required.
        commands: that deploy it, and how it is reached then.
        note: what else who deploys it has to know.
        has_limits: whether the folder says what an instance is to have.
        has_image: whether it makes a runtime's image, so that there must be one.
    """

    root: str
    files: Callable[[Content], dict[str, str]]
    commands: Callable[[Content], str]
    note: str
    has_limits: bool = True
    has_image: bool = False


def exported(
    name: str,
    target: Target,
    content: Content,
    *,
    library: Mapping[str, bytes],
    entry: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The files of an export, by path.

    Args:
        name: of the platform.
        target: what is to be said in its words.
        content: what it is to have.
        library: the worker side of disdel.
        entry: what calls actions there.
    """
    facts: dict[str, object] = {
        "exported": name,
        "version": disdel.__version__,
        "library": library_digest(library.items()),
    }
    if target.has_limits:
        facts["instance_mb"] = content.limits.memory_mb
        facts["timeout_s"] = content.limits.timeout_s
        facts["instances"] = content.limits.instances
    code = {**library, **entry, DEPLOYED: json.dumps(facts, indent=2).encode() + b"\n"}
    texts = {**target.files(content), "README.md": _readme(name, target, content)}
    return {
        **{f"{target.root}{path}": data for path, data in code.items()},
        **{path: text.encode() for path, text in texts.items()},
    }


def lines(packages: Iterable[str]) -> str:
    """A file of requirements, as pip reads it."""
    return "".join(f"{package}\n" for package in packages)


def _readme(name: str, target: Target, content: Content) -> str:
    return f"""# What disdel runs on {name}

Written by `disdel export` of version {disdel.__version__}; deploy it anew when disdel is updated.

```console
{target.commands(content)}
```

{target.note}"""
