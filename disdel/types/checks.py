"""The checks that the facts of this package make of themselves."""

from __future__ import annotations

import numbers
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from disdel.errors import UsageError
from disdel.types.setting import UNITS, Setting, unit_suffix


def take_fields(facts: Any) -> None:
    """Give the fields of a frozen dataclass that a program has filled the types they declare.

    Settings are held to their range, too. Call it in `__post_init__`.

    Raises:
        UsageError: a value is of another kind, or out of range.
    """
    hints = get_type_hints(type(facts), include_extras=True)
    for name in (field.name for field in fields(facts)):
        setting = setting_of(hints[name])
        if setting is None:
            if is_dataclass(hints[name]):
                taken(name, getattr(facts, name), hints[name])
            continue
        called = flag_of(setting, name)
        value = taken(called, getattr(facts, name), get_args(hints[name])[0])
        setting.check(called, value, UNITS.get(unit_suffix(name), ""))
        object.__setattr__(facts, name, value)


def setting_of(annotated: Any) -> Setting | None:
    """The setting that a type is annotated with."""
    notes = getattr(annotated, "__metadata__", ())
    return next((note for note in notes if isinstance(note, Setting)), None)


def flag_of(setting: Setting, field_name: str) -> str:
    """The flag of a setting, as messages name it."""
    return f"--{setting.called(field_name).replace('_', '-')}"


def taken(name: str, value: Any, kind: Any) -> Any:
    """`value` as the annotation `kind` has it: numbers of numpy as Python's, paths from texts.

    Nothing is rounded, and neither truth values nor texts are numbers.

    Raises:
        UsageError: it is of another kind.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for choice in kinds:
        if (made := _made(value, choice)) is not _OTHER:
            return made
    wanted = " or ".join(_in_words(choice) for choice in kinds)
    raise UsageError(f"{name} must be {wanted}, not {value!r}")


_OTHER = object()


def _made(value: Any, kind: Any) -> Any:
    """`value` as a `kind` that is no union, or `_OTHER`."""
    fits: bool
    if get_origin(kind) is Literal:
        fits = isinstance(value, str) and value in get_args(kind)
    elif get_origin(kind) is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        return tuple(value) if fits else _OTHER
    elif kind in _NUMBERS:
        fits = isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
        return kind(value) if fits else _OTHER
    elif kind is Path:
        # An empty one would be the current folder.
        fits = isinstance(value, str | os.PathLike) and bool(os.fspath(value).strip())
        return Path(value) if fits else _OTHER
    else:
        fits = isinstance(value, kind)
    return value if fits else _OTHER


_NUMBERS = {int: numbers.Integral, float: numbers.Real}
_WORDS = {
    NoneType: "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return _WORDS.get(kind) or f"of the type {getattr(kind, '__name__', kind)}"
