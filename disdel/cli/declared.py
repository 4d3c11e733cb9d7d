"""Commands whose options are the settings of dataclasses.

A parameter of a command that is annotated with such a class stands for its options: the command
gets an instance, made of what the user has said on the command line, in the environment or in a
file. `Without` or `Only` in the annotation say which of the options it has, and `Worded` what its
help says of some of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer

from disdel.settings import Declared, build, declared, found, resolve
from disdel.settings.config_file import Command, ConfigFile, Said, read_config
from disdel.settings.fields import REQUIRED
from disdel.settings.resolving import find
from disdel.settings.texts import value_of

T = TypeVar("T")
# The group of what all commands have.
OUTPUT = "Output"


class Without(frozenset[str]):
    """The settings that a command does not have, by name."""


class Only(frozenset[str]):
    """The settings that a command has, by name."""


class Worded(dict[str, str]):
    """What `--help` of a command says of settings that are something else for others, by name."""


@dataclass(frozen=True, slots=True)
class Of:
    """A parameter's value is one setting of a class; the others are not looked at."""

    cls: type
    name: str


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """What the user has said of a class of settings, for a command that adds to it.

    Attributes:
        cls: the class.
        values: by the settings' names.
        sources: the flags, variables and keys of a file that have said so.
    """

    cls: type[T]
    values: Mapping[str, Any]
    sources: Mapping[str, str]

    def made(self, **others: Any) -> T:
        """An instance; `others` are values of what the user has not said.

        Raises:
            UsageError: a value is out of range.
        """
        return build(self.cls, {**others, **self.values})


@dataclass(frozen=True, slots=True)
class _Group:
    """A parameter that stands for the settings of a class."""

    parameter: str
    cls: type
    options: tuple[Declared, ...]
    is_given: bool = False
    is_one: bool = False

    def value(self, said: Mapping[str, Any], elsewhere: Mapping[str, Said]) -> Any:
        """What the command gets for the parameter.

        Args:
            said: the texts of all flags by parameter; None where the user has not given one.
            elsewhere: what a file says, which counts where no flag does.
        """
        values, sources = {}, {}
        for option in self.options:
            if (value := said[option.name]) is not None:
                values[option.name] = _read(option, value)
                sources[option.name] = "DATASET" if option.setting.argument else option.flag
            elif (other := elsewhere.get(option.name)) is not None:
                values[option.name], sources[option.name] = other.value, other.source
        if self.is_one:
            [option] = self.options
            return find(self.cls, option.name, values.get(option.name))
        if not self.is_given:
            return resolve(self.cls, values)
        others = {option.name for option in declared(self.cls)} - {o.name for o in self.options}
        set_by_variables, variables = found(self.cls, others | values.keys())
        return Given(self.cls, values | set_by_variables, sources | variables)


def with_settings(
    command: Callable[..., None], *, takes_file_as: str | None = None
) -> Callable[..., None]:
    """`command` as Typer takes it: with a parameter for each setting.

    Args:
        command: the function.
        takes_file_as: the name of a command that has --config and --set, too.
    """
    groups, parameters = [], []
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        group = _group(parameter.name, hints[parameter.name])
        if group is None:
            plain = parameter.replace(
                annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY
            )
            parameters.append(plain)
        else:
            groups.append(group)
            parameters += [_typer_parameter(option, group) for option in group.options]

    file = _group("file", ConfigFile) if takes_file_as is not None else None
    if file is not None:
        parameters += [_typer_parameter(option, file) for option in file.options]

    def flat(**said: Any) -> None:
        elsewhere: Mapping[str, Said] = {}
        if file is not None and takes_file_as is not None:
            options = {option.name: option for group in groups for option in group.options}
            flags_only = frozenset(said.keys() - options.keys())
            asker = Command(takes_file_as, options, flags_only)
            elsewhere = read_config(file.value(said, {}), asker)
            for option in file.options:
                del said[option.name]
        for group in groups:
            made = group.value(said, elsewhere)
            for option in group.options:
                del said[option.name]
            said[group.parameter] = made
        command(**said)

    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.epilog = _epilog(groups)  # type: ignore[attr-defined]
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return flat


def _epilog(groups: Iterable[_Group]) -> str:
    """What `--help` says of environment variables: one of each kind stands for the others."""
    examples: dict[str | None, str] = {}
    for option in (option for group in groups for option in group.options):
        if option.variables:
            examples.setdefault(option.prefix, f"{option.variables[0]} for {option.flag}")
    if not examples:
        return ""
    return f"Environment variables set options, too: {', '.join(examples.values())}, and so on."


def _group(parameter: str, hint: Any) -> _Group | None:
    notes: Iterable[Any] = getattr(hint, "__metadata__", ())
    kind = hint.__origin__ if notes else hint
    if one := next((note for note in notes if isinstance(note, Of)), None):
        [option] = (option for option in declared(one.cls) if option.name == one.name)
        return _Group(parameter, one.cls, (option,), is_one=True)
    is_given = get_origin(kind) is Given
    if is_given:
        [kind] = get_args(kind)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    options = declared(kind)
    for note in notes:
        if isinstance(note, Without | Only):
            unknown = note - {option.name for option in options}
            assert not unknown, f"{kind.__name__} declares no {sorted(unknown)}"
            left = isinstance(note, Only)
            options = tuple(option for option in options if (option.name in note) is left)
        elif isinstance(note, Worded):
            assert note.keys() <= {option.name for option in options}
            options = tuple(_worded(option, note) for option in options)
    return _Group(parameter, kind, options, is_given)


def _worded(option: Declared, texts: Worded) -> Declared:
    if option.name not in texts:
        return option
    return replace(option, setting=replace(option.setting, help=texts[option.name]))


def _typer_parameter(option: Declared, group: _Group) -> inspect.Parameter:
    setting, default = option.setting, option.shown_default
    help_text = setting.help + (f" [default: {default}]" if default else "")
    shared: dict[str, Any] = {"help": help_text, "show_default": False}
    kind: Any = list[str] | None if option.is_repeated else str | None
    info: Any
    if setting.argument:
        info = typer.Argument(metavar=option.name.upper(), **shared)
        kind = str | None if group.is_given else str
    else:
        flags = [option.flag, *([setting.short] if setting.short else [])]
        if option.is_switch:
            kind = bool | None
            flags[0] += f"/{option.off_flag}" if option.off_flag else ""
        panel = None if setting.group == "Options" else setting.group
        metavar = None if option.is_switch else option.metavar
        info = typer.Option(*flags, metavar=metavar, rich_help_panel=panel, **shared)
    required = setting.argument and option.default is REQUIRED and not group.is_given
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind, info],
    )


def _read(option: Declared, value: Any) -> Any:
    if isinstance(value, bool):
        means = option.setting.means
        return value if means is None else means[0 if value else 1]
    if isinstance(value, str):
        source = option.name.upper() if option.setting.argument else option.flag
        return value_of(option, value, source)
    return tuple(value)
