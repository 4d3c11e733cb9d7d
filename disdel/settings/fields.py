"""The settings that a dataclass declares: its fields, and those of the dataclasses in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from disdel.connections.masking import masked
from disdel.errors import UsageError
from disdel.types.checks import flag_of, setting_of
from disdel.types.setting import UNITS, Setting, unit_suffix

T = TypeVar("T")

# Of a field that has no default.
REQUIRED = MISSING


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting, and the field that declares it.

    Attributes:
        setting: the field's annotation.
        path: the attributes that lead to the field.
        kind: the type of its values.
        declaration: the field.
        prefix: of its environment variable; None where a variable cannot set it.
    """

    setting: Setting
    path: tuple[str, ...]
    kind: Any
    declaration: Field[Any]
    prefix: str | None

    @property
    def default(self) -> Any:
        """The field's; None where it is made anew each time, `REQUIRED` where there is none."""
        return None if self.is_made else self.declaration.default

    @property
    def is_made(self) -> bool:
        """Whether the default is made anew each time."""
        return self.declaration.default_factory is not MISSING

    def new_default(self) -> Any:
        make = self.declaration.default_factory
        return self.declaration.default if make is MISSING else make()

    @property
    def field(self) -> str:
        return self.path[-1]

    @property
    def name(self) -> str:
        """What the Python API calls it."""
        return self.setting.called(self.field)

    @property
    def flag(self) -> str:
        return flag_of(self.setting, self.field)

    @property
    def entry(self) -> str:
        """What a report calls it: with its unit."""
        return self.setting.name or self.field

    @property
    def unit(self) -> str:
        """Of its numbers, or empty."""
        return UNITS.get(unit_suffix(self.field), "")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it; the first one that is not empty counts."""
        if self.prefix is None or self.setting.argument:
            return ()
        own = (f"{self.prefix}{self.name.upper()}",) if self.setting.in_environment else ()
        return (*own, *self.setting.variables)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of its values, without None."""
        union = get_origin(self.kind) in (Union, UnionType)
        kinds = get_args(self.kind) if union else (self.kind,)
        return tuple(kind for kind in kinds if kind is not NoneType)

    @property
    def is_switch(self) -> bool:
        """Whether it is a flag without a value."""
        return self.kinds == (bool,) or self.setting.means is not None

    @property
    def is_repeated(self) -> bool:
        """Whether it has any number of texts."""
        return get_args(self.kinds[0]) == (str, ...)

    @property
    def off_flag(self) -> str | None:
        """The opposite of a flag without a value: what a variable says can be taken back."""
        if not self.is_switch:
            return None
        return self.setting.off or (f"--no-{self.flag[2:]}" if self.variables else None)

    @property
    def metavar(self) -> str:
        """What stands for its value in help texts and docs."""
        if self.setting.metavar is not None:
            return self.setting.metavar
        texts = list(self.setting.words)
        for kind in self.kinds:
            if get_origin(kind) is Literal:
                texts += get_args(kind)
            else:
                number = self.unit.upper() or {int: "N", float: "F"}.get(kind, "")
                texts.append({Path: "PATH"}.get(kind) or number or "TEXT")
        return "|".join(texts)

    @property
    def shown_default(self) -> str:
        """The default for a help text; empty where there is nothing to tell."""
        if self.setting.default is not None:
            return self.setting.default
        for word, value in self.setting.words.items():
            if value == self.default:
                return word
        if self.default in (None, REQUIRED, ()) or self.is_switch:
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def value(self, facts: Any) -> Any:
        """The value that an instance of the class has."""
        for attribute in self.path:
            facts = getattr(facts, attribute)
        return facts


def declared(cls: type) -> tuple[Declared, ...]:
    """The settings of a dataclass, in the order of its fields.

    A class whose `VARIABLES` is a prefix, as `DISDEL_`, takes its settings from variables, too.
    """
    return _read_once(cls)


@cache
def _read_once(cls: Any) -> tuple[Declared, ...]:
    return tuple(_declared(cls, (), getattr(cls, "VARIABLES", None)))


def _declared(cls: type, path: tuple[str, ...], prefix: str | None) -> list[Declared]:
    found = []
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        annotated, here = hints[field.name], (*path, field.name)
        setting = setting_of(annotated)
        if setting is not None:
            kind = get_args(annotated)[0]
            found.append(Declared(setting, here, kind, field, prefix))
        elif is_nested(annotated):
            found += _declared(annotated, here, prefix)
    return found


def is_nested(kind: Any) -> bool:
    """Whether a field's type is a dataclass with settings of its own."""
    return isinstance(kind, type) and is_dataclass(kind) and bool(declared(kind))


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance whose settings have the values of that name, and else their defaults.

    Args:
        cls: a dataclass with settings.
        values: by the settings' names, and other fields by theirs.

    Raises:
        UsageError: a value is of another type or out of range, or says what another one does.
    """
    _check_apart(cls, values)
    made: T = getattr(cls, "built", cls)(**arguments(cls, values))
    return made


def _check_apart(cls: type, values: Mapping[str, Any]) -> None:
    """Refuse two settings that say the same (the pairs in the class's `APART`), defaults too."""
    flags = {option.name: option.flag for option in declared(cls)}
    for pair in getattr(cls, "APART", ()):
        if all(values.get(name) is not None for name in pair):
            one, other = (flags[name] for name in pair)
            raise UsageError(f"{one} and {other} say the same: leave one of them out")


def arguments(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by which a class is made with these values.

    Raises:
        UsageError: one that has no default is missing.
    """
    given: dict[str, Any] = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        setting = setting_of(hints[field.name])
        name = field.name if setting is None else setting.called(field.name)
        # A setting may have the name of a field: `limits`.
        if setting is None and is_nested(kind := hints[field.name]):
            whole = values.get(name)
            given[field.name] = whole if isinstance(whole, kind) else build(kind, values)
        elif name in values:
            given[field.name] = values[name] if setting is None else setting.meaning(values[name])
        elif setting is not None and not _has_default(field):
            raise UsageError(f"{flag_of(setting, field.name)} is missing: {setting.help}")
    return given


def changed(facts: T, values: Mapping[str, Any]) -> T:
    """An instance with other values of the settings that are named.

    Raises:
        UsageError: a value is of another type or out of range.
    """
    others: dict[str, Any] = {}
    for option in declared(type(facts)):
        if option.name in values:
            at, *deeper = option.path
            if deeper:
                others[at] = changed(getattr(facts, at), values)
            else:
                others[at] = option.setting.meaning(values[option.name])
    return replace(facts, **others)  # type: ignore[type-var]


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def entries(facts: Any) -> dict[str, Any]:
    """The settings of an instance as a report has them: by name, and in JSON's types."""
    return {
        option.entry: _in_json(option, option.value(facts))
        for option in declared(type(facts))
        if not (option.setting.secret or option.setting.argument)
    }


def _in_json(option: Declared, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if option.setting.metavar == "URL" and value is not None:
        # It may hold a password.
        return masked(value if "://" in value else f"https://{value}")
    return str(value) if isinstance(value, Path) else value
