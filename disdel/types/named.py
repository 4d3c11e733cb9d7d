"""`NAME:VALUE,KEY=VALUE`: how an option names one of several things and fills its parameters.

`--partition dirichlet:0.3,least=10` asks for `dirichlet(…, 0.3, least=10)`. What may be said is
what the function or dataclass of that name takes, so its signature alone declares it: parameters
that can be given by position may be, separated by colons, and all of them as `KEY=VALUE`. Types are
those of the annotations, and a `Setting` beside one bounds its numbers.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from disdel.errors import UsageError
from disdel.types.checks import setting_of
from disdel.types.setting import Setting

_REST = object()
# The type of a text that is all there is behind the colon, whatever its characters.
Rest = Annotated[str, _REST]

# A function of the user's has a colon in its name.
_ENTRY = re.compile(
    r"(?P<name>.+\.py:[A-Za-z_]\w*|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+:[A-Za-z_]\w*)(?::(?P<rest>.*))?",
    re.DOTALL,
)
_KEYED = re.compile(r"(?P<key>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_SWITCHES = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Named:
    """What was said, taken apart.

    Attributes:
        text: all of it.
        name: what stands before the colon; of a function of the user's, `FILE.py:FUNCTION`.
        rest: what stands behind it, None where there is no colon.
        is_entry: whether it is a function or class of the user's.
    """

    text: str
    name: str
    rest: str | None
    is_entry: bool


def read_named(text: str) -> Named:
    """The name in a text, and what is said of its parameters."""
    if entry := _ENTRY.fullmatch(text):
        return Named(text, entry["name"], entry["rest"], is_entry=True)
    name, colon, rest = text.partition(":")
    return Named(text, name, rest if colon else None, is_entry=False)


def parameters_said(
    named: Named, takes: Callable[..., Any], option: str, *, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """The values that a text gives the parameters of a function or a dataclass, by their names.

    Args:
        named: what was said.
        takes: whose parameters they are.
        option: the flag that says it, for messages.
        leave_out: parameters that others give it.

    Raises:
        UsageError: one is unknown, said twice, missing, of another type or out of range.
    """
    parameters = {p.name: p for p in _parameters(takes, leave_out)}
    written = f"it is written {usage(named.name, takes, leave_out=leave_out)}"
    said: dict[str, Any] = {}
    for name, text in _texts(named, list(parameters.values()), f"{option} {named.text}", written):
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(f"{option} {named.name} has no parameter {name}{hint}; {written}")
        if name in said:
            raise UsageError(f"{option} {named.text} gives {name} twice; {written}")
        said[name] = parameters[name].value(text, f"{option} {named.text}: {name}")
    if missing := [p.name for p in parameters.values() if p.is_required and p.name not in said]:
        raise UsageError(f"{option} {named.text} lacks {' and '.join(missing)}; {written}")
    return said


def usage(name: str, takes: Callable[..., Any], *, leave_out: Collection[str] = ()) -> str:
    """How it is written: `dirichlet:ALPHA[,least=1]`."""
    parameters = list(_parameters(takes, leave_out))
    required = "".join(f":{p.shown}" for p in parameters if p.by_position and p.is_required)
    optional = [f"{p.name}={p.shown}" for p in parameters if not (p.by_position and p.is_required)]
    if not optional:
        return name + required
    return f"{name}{required}[{',' if required else ':'}{','.join(optional)}]"


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter; `kinds` are its types, and `rest` says that it takes all of the text."""

    name: str
    kinds: tuple[Any, ...]
    setting: Setting | None
    default: Any
    by_position: bool
    rest: bool

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def shown(self) -> str:
        """What stands for its value: its choices, its default, or its name."""
        if choices := [text for kind in self.kinds for text in _choices(kind)]:
            return "|".join(choices)
        if self.is_required or self.default is None:
            return self.name.upper()
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def value(self, text: str, called: str) -> Any:
        """What a text says; raises `UsageError` where it is of another type, or out of range."""
        for kind in self.kinds:
            made = _made(text, kind)
            if made is not None:
                if self.setting is not None:
                    self.setting.check(called, made)
                return made
        if text == "none" and NoneType in self.kinds:
            return None
        shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
        bounds = "" if self.setting is None else self.setting.range_after_words
        # A range is that of the numbers: "a whole number from 1 to 9 or none".
        words = [_in_words(kind) for kind in self.kinds if kind is not NoneType]
        wanted = " or ".join(words) + bounds + " or none" * (NoneType in self.kinds)
        raise UsageError(f"{called} must be {wanted}, not {shown}")


def _parameters(takes: Callable[..., Any], leave_out: Collection[str]) -> Iterator[_Parameter]:
    hints = get_type_hints(takes, include_extras=True)
    for parameter in inspect.signature(takes).parameters.values():
        if parameter.name in leave_out or parameter.kind in _VARIABLE:
            continue
        default = parameter.default
        told = str if default in (parameter.empty, None) else type(default)
        hint = hints.get(parameter.name, told)
        notes = getattr(hint, "__metadata__", ())
        kind = hint.__origin__ if notes else hint
        is_union = get_origin(kind) in (Union, UnionType)
        yield _Parameter(
            name=parameter.name,
            kinds=get_args(kind) if is_union else (kind,),
            setting=setting_of(hint),
            default=parameter.default,
            by_position=parameter.kind is not parameter.KEYWORD_ONLY,
            rest=_REST in notes,
        )


def _texts(
    named: Named, parameters: list[_Parameter], told: str, written: str
) -> Iterator[tuple[str, str]]:
    """The parameters that are said something of, and what."""
    if named.rest is None:
        return
    positional = [p for p in parameters if p.by_position]
    if not parameters:
        raise UsageError(f"{told}: {named.name} takes no parameters; {written}")
    if positional and positional[0].rest:
        if not named.rest:
            raise UsageError(f"{told} lacks {positional[0].name}; {written}")
        yield positional[0].name, named.rest
        return
    first, *items = named.rest.split(",")
    if _KEYED.fullmatch(first):
        items = [first, *items]
    else:
        values = first.split(":")
        if len(values) > len(positional):
            raise UsageError(f"{told} says {len(values)} values by position; {written}")
        yield from ((p.name, text) for p, text in zip(positional, values, strict=False))
    for item in items:
        if (keyed := _KEYED.fullmatch(item)) is None:
            raise UsageError(f"{told}: {item!r} is no KEY=VALUE; {written}")
        yield keyed["key"], keyed["value"]


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _made(text: str, kind: Any) -> Any:
    """`text` as a `kind`; None where it is none."""
    if get_origin(kind) is Literal:
        return text if text in get_args(kind) else None
    if kind is bool:
        return _SWITCHES.get(text.lower())
    if kind is int:
        return int(text) if _WHOLE.fullmatch(text) else None
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return text or None if kind is str else None


def _in_words(kind: Any) -> str:
    words = {
        bool: "yes or no",
        int: "a whole number",
        float: "a number",
        str: "a text",
        NoneType: "none",
    }
    return " or ".join(_choices(kind)) or words.get(kind) or f"of the type {kind}"
