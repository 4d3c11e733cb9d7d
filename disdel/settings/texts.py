"""Texts of a command line, the environment or a file as values of settings."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from typing import Any, Literal, get_args, get_origin

from disdel.errors import UsageError
from disdel.settings.fields import Declared

_SWITCHES = {"1": True, "true": True, "yes": True, "on": True} | {
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_UNITS = {"MB": " of MB", "s": " of seconds"}
_SHOWN = 60


def value_of(option: Declared, text: str, source: str) -> Any:
    """What a text says.

    Args:
        option: the setting that it is of.
        text: as the user has written it. Of a setting with several values it has all of them,
            separated and quoted as in a shell.
        source: the flag, variable or key that says it, for messages.

    Raises:
        UsageError: it is no value of the setting, or out of range.
    """
    if text in option.setting.words:
        return option.setting.words[text]
    if option.is_switch and text.lower() in _SWITCHES:
        return _SWITCHES[text.lower()]
    if option.is_repeated:
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise UsageError(f"{source} cannot be read as a shell does ({error})") from error
    if option.setting.reads is not None:
        with contextlib.suppress(ValueError):
            return option.setting.reads(text)
    for kind in () if option.setting.reads else option.kinds:
        if get_origin(kind) is Literal:
            if text in get_args(kind):
                return text
        elif kind in (int, float):
            number = number_in(text, kind)
            if number is not None and option.setting.has_in_range(number):
                return number
        elif kind is not bool:
            return kind(text)
    raise UsageError(f"{source} must be {_wanted(option)}, not {_shown(option, text)}")


def checked_text(name: str, value: str) -> str:
    """A setting as text.

    Raises:
        UsageError: it has bytes that are no UTF-8, or control characters; it may be a secret.
    """
    if any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value):
        raise UsageError(f"{name} holds characters that cannot be in it: write it anew")
    return value


def _shown(option: Declared, text: str) -> str:
    if option.setting.secret:
        return "what was given"
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def number_in(text: str, kind: type[int] | type[float]) -> float | None:
    """The number in a text; None where that is none, or one beyond all bounds."""
    if kind is int:
        return int(text) if _WHOLE.fullmatch(text) else None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _wanted(option: Declared) -> str:
    """What a value may be, in words."""
    if option.is_switch:
        return "1 or 0 (or true, false, yes, no, on, off)"
    if option.setting.reads is not None:
        return option.setting.wanted
    wanted = list(option.setting.words)
    for kind in option.kinds:
        if get_origin(kind) is Literal:
            wanted += get_args(kind)
        else:
            words = "a whole number" if kind is int else "a number"
            wanted.append(f"{words}{_UNITS.get(option.unit, '')}{option.setting.range_after_words}")
    return " or ".join(wanted)
