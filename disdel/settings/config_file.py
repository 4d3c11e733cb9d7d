"""Options from a file of TOML and from `--set NAME=VALUE`, read as those of a command line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from disdel.errors import UsageError
from disdel.host.home import expanded
from disdel.settings.fields import Declared
from disdel.settings.texts import checked_text, value_of
from disdel.types.by_client import joined
from disdel.types.setting import Setting

# What is larger was not written by hand: a data set, or a device without an end.
_LARGEST_BYTES = 2**20
_TOP = "Options"
_BARE = re.compile(r"[A-Za-z0-9_-]{1,60}")
_KINDS = {bool: "true or false", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """Where options come from that are not on the command line."""

    config: Annotated[
        Path | None,
        Setting(
            "Take options from this file; those of the command line count before.",
            metavar="FILE.toml",
        ),
    ] = None
    pairs: Annotated[
        tuple[str, ...],
        Setting(
            "Set an option by its name, before what --config says; may be repeated.",
            name="set",
            metavar="NAME=VALUE",
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """The value of an option, and who says it, for messages."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Command:
    """Whose options they are.

    Attributes:
        name: as users type it.
        options: by their names.
        flags_only: the names of what its command line alone may say.
    """

    name: str
    options: Mapping[str, Declared]
    flags_only: frozenset[str]

    def option(self, key: str, source: str) -> Declared:
        """The option that a key names.

        Raises:
            UsageError: there is none.
        """
        name = key.replace("-", "_")
        if (option := self.options.get(name)) is not None:
            return option
        if name in self.flags_only:
            raise UsageError(f"{source}: --{key} is for the command line alone")
        names = [_shown(option) for option in self.options.values()]
        near = difflib.get_close_matches(key.replace("_", "-"), names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"`disdel {self.name} --help` lists them"
        raise UsageError(f"{source} is no option of `disdel {self.name}`; {hint}")


def read_config(given: ConfigFile, command: Command) -> dict[str, Said]:
    """What the file and `--set` say, by the options' names.

    Args:
        given: what the user has given of them.
        command: whose options they are.

    Raises:
        UsageError: the file cannot be read, or something in it is no option or no value of it.
    """
    said: dict[str, Said] = {}
    if given.config is not None:
        path = expanded(given.config, "--config")
        for key, value, table in _entries(_read(path), path, command):
            source = f"{_quoted(key)} in {path}"
            option = command.option(key, source)
            if table is not None and _key(option.setting.group) != _key(table):
                where = _place(option)
                raise UsageError(f"{source} stands under [{table}], and belongs {where}")
            if option.name in said:
                raise UsageError(f"{source} is given twice: leave one of them out")
            said[option.name] = Said(_value(option, value, source), source)
    return said | _said_by_pairs(given.pairs, command)


def _said_by_pairs(pairs: Iterable[str], command: Command) -> dict[str, Said]:
    texts: dict[str, list[str]] = {}
    for pair in pairs:
        key, mark, text = pair.partition("=")
        key = key.strip()
        if not (key and mark):
            # What it says may be a secret.
            raise UsageError("--set takes NAME=VALUE, such as seed=7, and one of them is not that")
        texts.setdefault(command.option(key, f"--set {_quoted(key)}").name, []).append(text)
    said = {}
    for name, values in texts.items():
        option = command.options[name]
        source = f"--set {_shown(option)}"
        if len(values) > 1 and not option.is_repeated:
            raise UsageError(f"{source} is given twice: leave one of them out")
        value = values if option.is_repeated else values[0]
        said[name] = Said(_value(option, value, source), source)
    return said


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--config {path} cannot be read: {why}") from error
    if len(content) > _LARGEST_BYTES:
        raise UsageError(f"--config {path} is larger than 1 MiB: that is no file of options")
    try:
        # Numbers stay as they are written: the tag 1.10 is not 1.1.
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=str)
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path} is no text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is no TOML: {error}") from error


def _entries(
    content: Mapping[str, Any], path: Path, command: Command
) -> Iterator[tuple[str, Any, str | None]]:
    """Each key and its value, with the table that it stands in."""
    groups = dict.fromkeys(option.setting.group for option in command.options.values())
    tables = [_key(group) for group in groups if group != _TOP]
    for key, value in content.items():
        if not isinstance(value, dict):
            yield key, value, None
            continue
        if _key(key) not in tables:
            near = difflib.get_close_matches(_key(key), tables, n=1)
            names = [f"[{_dashed(name)}]" for name in near or tables]
            hint = f"did you mean {names[0]}?" if near else f"there are {', '.join(names)}"
            raise UsageError(f"[{_quoted(key)}] in {path} is no group of options; {hint}")
        for inner, one in value.items():
            yield inner, one, key


def _value(option: Declared, value: Any, source: str) -> Any:
    if option.is_repeated:
        values = value if isinstance(value, list) else [value]
        return tuple(_text(option, one, source) for one in values)
    if isinstance(value, list) and {float, str} <= set(option.kinds):
        # One number for each client, which the command line has with commas.
        value = joined(_text(option, one, source) for one in value)
    return value_of(option, _text(option, value, source), source)


def _text(option: Declared, value: Any, source: str) -> str:
    """A value as the command line has it."""
    if isinstance(value, bool) and option.is_switch:
        return str(value).lower()
    if isinstance(value, bool) or not isinstance(value, str | int):
        kind = _KINDS.get(type(value), "a date or a time")
        wanted = "true or false" if option.is_switch else option.metavar
        raise UsageError(f"{source} must be {wanted}, not {kind}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UsageError(f"{source} is a number of more than 64 bits")
    text = checked_text(source, str(value))
    if not text.strip():
        raise UsageError(f"{source} is empty: give it a value, or leave it out")
    return text


def _place(option: Declared) -> str:
    group = option.setting.group
    return "above all tables" if group == _TOP else f"under [{_dashed(group)}]"


def _key(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _dashed(name: str) -> str:
    return _key(name).replace("_", "-")


def _quoted(key: str) -> str:
    """A key as it is written; TOML takes any text for one."""
    return key if _BARE.fullmatch(key) else repr(key[:60])


def _shown(option: Declared) -> str:
    """What the option is called in a file: its flag without the dashes."""
    return option.flag.removeprefix("--")
