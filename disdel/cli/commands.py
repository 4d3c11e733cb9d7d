"""Groups of commands whose options are read and refused in disdel's own words.

Typer reads the command line. What it would say of a wrong value names neither the value nor the
range, in words that change with its version; and an empty path is a folder to it, the current one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.utils import get_params_from_function

from disdel.cli.declared import OUTPUT, with_settings
from disdel.errors import UsageError
from disdel.settings.texts import number_in

F = TypeVar("F", bound=Callable[..., Any])

# Where nothing is something: a column without a name, a blank that marks a missing value.
_MAY_BE_EMPTY = frozenset({"--label", "--drop", "--keep", "--na"})
_NUMBERS = {int: "a whole number", float: "a number"}
_SHOWN = 60
# As for `difflib`: a letter or two of an option are others.
_ALIKE = 0.8


class Commands(typer.Typer):
    """A group of commands that are read so."""

    def __init__(self, **settings: Any) -> None:
        # Brackets in texts are brackets, not markup.
        super().__init__(cls=_Group, no_args_is_help=True, rich_markup_mode=None, **settings)

    def command(
        self, name: str | None = None, *, takes_file: bool = False, **settings: Any
    ) -> Callable[[F], F]:
        """As Typer's, but that parameters may stand for declared settings.

        Args:
            name: of the command.
            takes_file: whether settings come from a file, too, which --config names.
            settings: as Typer's.
        """
        register = super().command(name, cls=_Command, **settings)

        def decorate(function: F) -> F:
            def later() -> None: ...

            later.__name__, later.__doc__ = function.__name__, function.__doc__
            later.function = function  # type: ignore[attr-defined]
            later.takes_file_as = name if takes_file else None  # type: ignore[attr-defined]
            register(later)
            return function

        return decorate


class _Group(TyperGroup):
    """A group whose help has each command's first paragraph, whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with what they do."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((command.help or "").partition("\n\n")[0].split()))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class _Command(TyperCommand):
    """A command whose parameters are made when it is used: all commands together have 200."""

    _is_made = False

    def get_params(self, ctx: Any) -> list[Any]:
        if not self._is_made:
            self._is_made = True
            alone = typer.Typer(add_completion=False)
            later: Any = self.callback
            flat = with_settings(later.function, takes_file_as=later.takes_file_as)
            alone.command(epilog=flat.epilog)(flat)  # type: ignore[attr-defined]
            made: Any = typer.main.get_command(alone)
            self.params, self.callback, self.epilog = made.params, made.callback, made.epilog
        return super().get_params(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, *_ = self.make_parser(ctx).parse_args(args=list(args))
        if not given.get("help"):
            declared = get_params_from_function(self.callback) if self.callback else {}
            for parameter in self.get_params(ctx):
                if parameter.name in declared:
                    name = _called(parameter)
                    for text in _texts(given.get(parameter.name)):
                        _check(name, text, declared[parameter.name])
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the command's name: an argument that may be left out, in brackets."""
        arguments = [one for one in self.get_params(ctx) if _is_argument(one)]
        named = [_called(one) if one.required else f"[{_called(one)}]" for one in arguments]
        return [self.options_metavar or "", *named]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the headings of their groups."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                plain = "Options"
                if _is_argument(parameter):
                    plain, record = "Arguments", (_called(parameter), parameter.help or "")
                group = getattr(parameter, "rich_help_panel", None) or plain
                groups.setdefault(group, []).append(record)
        # That of all commands comes last.
        first = ("Arguments", "Options")
        for group in sorted(groups, key=lambda name: (name not in first, name == OUTPUT)):
            with formatter.section(group):
                formatter.write_dl(groups[group])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _called(parameter: Any) -> str:
    """What an option or an argument is called to the user."""
    longest: str = max(parameter.opts, key=len)
    return longest if longest.startswith("-") else parameter.metavar or longest.upper()


def _texts(given: object) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, list | tuple):
        yield from (text for text in given if isinstance(text, str))


def _check(name: str, text: str, declared: Any) -> None:
    """Refuse what is empty, and what is not the number that is wanted.

    Raises:
        UsageError: it is.
    """
    for kind, words in _NUMBERS.items():
        if declared.annotation in (kind, kind | None):
            low, high = declared.default.min, declared.default.max
            value = number_in(text, kind)
            if value is None or not _within(value, low, high):
                raise UsageError(f"{name} must be {words}{_range(low, high)}, not {_shown(text)}")
            return
    if not text.strip() and name not in _MAY_BE_EMPTY:
        raise UsageError(f"{name} is empty: give it a value, or leave it out")


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def said_by_typer(error: Exception) -> str | None:
    """What Typer refuses, in a sentence with the next step; its pages of help as they are.

    None for errors that are not Typer's.
    """
    if not hasattr(error, "format_message"):
        return None
    message: str = error.format_message()
    if "\n" in message:
        return message
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        near = difflib.get_close_matches(option, error.possibilities or (), n=1, cutoff=_ALIKE)
        message = f"No such option: {option}" + (f" (did you mean {near[0]}?)" if near else "")
    context = getattr(error, "ctx", None)
    command = "disdel" if context is None else context.command_path
    sentence = message[:1].lower() + message[1:].removesuffix(".")
    return f"disdel: {sentence}; `{command} --help` tells what there is"
