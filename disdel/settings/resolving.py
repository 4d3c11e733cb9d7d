"""Where the value of a setting comes from: the one floor on which that is decided.

What is given (a flag, a keyword of the Python API) comes before the environment, the environment
before OpenWhisk's `.wskprops`, and that before the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from disdel.host.environment import read_wskprops, variable
from disdel.host.home import expanded
from disdel.settings.fields import Declared, arguments, build, declared
from disdel.settings.signatures import split
from disdel.settings.texts import value_of
from disdel.settings.wording import in_keywords

T = TypeVar("T")


def resolve(cls: type[T], given: Mapping[str, Any]) -> T:
    """An instance of a class of settings, from all places that they come from.

    Args:
        cls: a dataclass with settings.
        given: values by the settings' names; for a class that resolves itself None is no value.

    Raises:
        UsageError: a value is wrong; the message names the flag or the variable.
    """
    values = _said(cls, given)
    elsewhere, _ = found(cls, values)
    return build(cls, elsewhere | values)


def found(cls: type, given: Container[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the environment and files say of the settings that are not given.

    Returns:
        The values by the settings' names, and the variables that they are from.

    Raises:
        UsageError: a value is wrong.
    """
    values, sources = {}, {}
    for option in declared(cls):
        if option.name not in given and (place := _place(option)) is not None:
            source, text = place
            values[option.name] = value_of(option, text, source)
            sources[option.name] = source
    return values, sources


def find(cls: type, name: str, given: Any = None) -> Any:
    """The value of one setting of a class that resolves itself; the others are not looked at.

    Raises:
        UsageError: it is wrong, or a path in a home folder that there is not.
    """
    [option] = (option for option in declared(cls) if option.name == name)
    if given is None:
        place = _place(option)
        given = option.new_default() if place is None else value_of(option, place[1], place[0])
    return expanded(given, option.flag) if isinstance(given, Path) else given


def _place(option: Declared) -> tuple[str, str] | None:
    """The variable or file that says something of a setting, and what."""
    for name in option.variables:
        # Of others' variables one that is empty says nothing.
        own = name.startswith("DISDEL_")
        if text := variable(name) if own else os.environ.get(name):
            return name, text
    key = option.setting.wskprops
    if key is not None and (text := read_wskprops().get(key)):
        return f"{key} in .wskprops", text
    return None


def _said(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given and says something."""
    if not getattr(cls, "RESOLVES_ITSELF", False):
        return dict(given)
    return {name: value for name, value in given.items() if value is not None}


def resolving(cls: type[T]) -> type[T]:
    """A class decorator: what is not given to the class, or None, is looked up when it is made.

    So whoever has an instance has values, and asks nobody where they are from. Settings may be
    given by their names, too: `memory_max=512` beside `limits=Limits(memory_max_mb=512)`. What
    is wrong with a value is said in keywords; a setting that is given twice raises TypeError.
    """
    plain: Callable[..., None] = cls.__init__

    @wraps(plain)
    def init(self: T, **given: Any) -> None:
        said, own = _said(cls, given), {field.name for field in fields(cls)}  # type: ignore[arg-type]
        whole = {name: value for name, value in said.items() if name in own}
        [single] = split({name: value for name, value in given.items() if name not in own}, cls)
        named = {option.name for option in declared(cls) if option.path[0] in whole}
        if twice := sorted(named & single.keys()):
            raise TypeError(f"{', '.join(twice)} is given twice: by itself and as a part")
        single = {name: value for name, value in single.items() if value is not None}
        values = found(cls, named | single.keys())[0] | single
        plain(self, **(arguments(cls, values) | whole))

    @wraps(plain)
    def called(self: T, **given: Any) -> None:
        with in_keywords(cls):
            init(self, **given)

    def built(**given: Any) -> T:
        made = cls.__new__(cls)
        init(made, **given)
        return made

    cls.RESOLVES_ITSELF = True  # type: ignore[attr-defined]
    # Of a command line or the environment, whose users know flags and no keywords.
    cls.built = staticmethod(built)  # type: ignore[attr-defined]
    cls.__init__ = called  # type: ignore[assignment,method-assign]
    return cls
