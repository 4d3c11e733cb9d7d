"""Settings written out: as rows of the documentation, and as keywords for type checkers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from disdel.settings.fields import REQUIRED, Declared, declared


def table(cls: type) -> str:
    """The settings of a class as a table in Markdown, a row for each."""
    rows = [("option", "variable", "default", "meaning")]
    for option in declared(cls):
        if not option.setting.argument:
            rows.append((_flags(option), _variables(option), _default(option), _meaning(option)))
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "| --- | --- | --- | --- |", *lines[1:]]) + "\n"


def _flags(option: Declared) -> str:
    flag = f"`{option.flag}`" if option.is_switch else f"`{option.flag} {option.metavar}`"
    flag += f", `{option.off_flag}`" if option.off_flag else ""
    return f"{flag}, `{option.setting.short}`" if option.setting.short else flag


def _variables(option: Declared) -> str:
    return ", ".join(f"`{name}`" for name in option.variables)


def _default(option: Declared) -> str:
    shown = option.shown_default
    if option.default is REQUIRED:
        return "required"
    return f"`{shown}`" if shown and option.setting.default is None else shown


def _meaning(option: Declared) -> str:
    setting = option.setting
    text = setting.help
    if bound := setting.told_range:
        unit = f" {option.unit}" if option.unit else ""
        text += f" {bound[0].upper()}{bound[1:]}{unit}."
    if setting.wskprops is not None:
        text += f" After the variable, `{setting.wskprops}` in `.wskprops` counts."
    return text


def keywords(name: str, classes: Iterable[type], *, without: Collection[str] = frozenset()) -> str:
    """The source of a `TypedDict` of the settings of `classes` but `without`."""
    lines = [
        f"class {name}(TypedDict, total=False):",
        '    """Written by `scripts/generate`."""',
        "",
    ]
    for cls in classes:
        for option in declared(cls):
            if not option.setting.argument and option.name not in without:
                kinds = f"{_words(option)}{_also(option)}{_source(option.kind)}"
                lines.append(f"    {option.name}: {kinds}")
    return "\n".join(lines) + "\n"


def _words(option: Declared) -> str:
    """The words that stand for values, where no text may."""
    words = () if str in option.kinds else option.setting.words
    return f"{_source(Literal[tuple(words)])} | " if words else ""


def _also(option: Declared) -> str:
    return f"{option.setting.also} | " if option.setting.also else ""


def _source(kind: Any) -> str:
    """A type as Python writes it; paths may be texts, and several values any sequence."""
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_source, get_args(kind)))
    if get_origin(kind) is Literal:
        return f"Literal[{', '.join(f'{chr(34)}{value}{chr(34)}' for value in get_args(kind))}]"
    if get_origin(kind) is tuple:
        return f"Sequence[{_source(get_args(kind)[0])}]"
    return {NoneType: "None", Path: "Path | str"}.get(kind) or str(kind.__name__)
