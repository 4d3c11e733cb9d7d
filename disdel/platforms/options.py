"""Options that a platform alone has: declared in its folder, given by `--platform-option`."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from disdel.errors import UsageError
from disdel.settings import Settings, declared, resolve
from disdel.settings.texts import value_of

T = TypeVar("T")
FLAG = "--platform-option"


def own_options(cls: type[T], settings: Settings, **given: Any) -> T:
    """The options of a platform: as said with `settings`, else as their variables say.

    Args:
        cls: the class that declares them.
        settings: what the user has said.
        given: values of those that have a flag of their own, too.

    Raises:
        UsageError: one is wrong, or said twice with two values.
    """
    said = said_options("this platform", cls, settings)
    for name, value in given.items():
        if said.get(name, value) != value:
            raise UsageError(
                f"{FLAG} {name} is {said[name]}, and --{name} is {value}: leave one out"
            )
    return resolve(cls, {**said, **given})


def refuse_limits(settings: Settings, platform: str, instead: str) -> None:
    """Refuse the limits of the embedded platform, where another has its own.

    Raises:
        UsageError: they are asked for.
    """
    if settings.platform_limits is not None:
        raise UsageError(
            f"--limits {settings.platform_limits} is for the embedded platform, and {platform} has "
            f"limits of its own: leave it out, or say {instead}"
        )


def said_options(platform: str, cls: type | None, settings: Settings) -> dict[str, Any]:
    """The values of what `--platform-option` says, by name.

    Args:
        platform: its name, for messages.
        cls: the class that declares its options; None where it has none.
        settings: what the user has said.

    Raises:
        UsageError: it has no such option, or the value is none of its values.
    """
    known = {} if cls is None else {option.name: option for option in declared(cls)}
    values: dict[str, Any] = {}
    for pair in settings.platform_options:
        called, is_pair, text = pair.partition("=")
        name = called.replace("-", "_")
        if not is_pair:
            raise UsageError(f"{FLAG} must be NAME=VALUE, not {pair[:40]!r}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            has = "has no options of its own" if not known else f"has only {', '.join(known)}"
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{FLAG} {called}: platform {platform} {has}{hint}")
        value = value_of(known[name], text, f"{FLAG} {name}")
        if name in values and not known[name].is_repeated:
            raise UsageError(f"{FLAG} gives {name} twice: name one value")
        values[name] = (*values.get(name, ()), *value) if known[name].is_repeated else value
    return values
