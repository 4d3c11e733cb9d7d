"""Functions whose keywords are settings: their signatures, and what `help()` shows of them."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

from disdel.settings.fields import Declared, declared
from disdel.settings.wording import as_keywords, in_keywords

F = TypeVar("F", bound=Callable[..., Any])
_MARK = re.compile(r"^    options: .*", re.MULTILINE)
_WIDTH = 96


def takes_settings(*classes: type, without: Collection[str] = frozenset()) -> Callable[[F], F]:
    """A decorator for a function whose `**options` are the settings of `classes`.

    Its signature and its docstring then have each of them but those that are named in `without`,
    which it refuses itself; its errors name them as keywords.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [entry for entry in signature.parameters.values() if entry.kind != entry.VAR_KEYWORD]
        options = [
            option
            for cls in classes
            for option in declared(cls)
            if option.name not in {*signature.parameters, *without}
        ]

        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> Any:
            with in_keywords(*classes):
                return function(*args, **given)

        called.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *map(_parameter, options)]
        )
        lines = "\n".join(_described(option, classes) for option in options)
        text = inspect.cleandoc(function.__doc__ or "")
        called.__doc__ = _MARK.sub(lambda _: lines, text)
        return cast(F, called)

    return decorate


def _parameter(option: Declared) -> inspect.Parameter:
    default = _Default(option.shown_default) if option.is_made else option.default
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.kind
    )


class _Default(str):
    """A default in words."""

    def __repr__(self) -> str:
        return f"<{self}>"


def _described(option: Declared, classes: tuple[type, ...]) -> str:
    text = f"{option.name}: {as_keywords(option.setting.help, *classes)}"
    if bound := option.setting.told_range:
        unit = f" {option.unit}" if option.unit else ""
        text += f" {bound[0].upper()}{bound[1:]}{unit}."
    for word, value in option.setting.words.items():
        text += f" {value!r} is {word}."
    if option.setting.default is not None:
        none = option.default is None and not option.is_made
        text += f" {'None:' if none else 'By default'} {option.setting.default}."
    indent = " " * 8
    return textwrap.fill(text, _WIDTH, initial_indent=indent[:4], subsequent_indent=indent)


def split(options: Mapping[str, Any], *classes: type) -> list[dict[str, Any]]:
    """The options of each class.

    Raises:
        TypeError: one of them is an option of none.
    """
    known = [{option.name for option in declared(cls)} for cls in classes]
    for name in options:
        if not any(name in names for names in known):
            near = difflib.get_close_matches(name, set().union(*known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"there is no option {name!r}{hint}")
    return [{name: options[name] for name in options if name in names} for names in known]
