"""Messages in the words of whoever reads them: flags for the command line, keywords for Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args, get_origin

from disdel.errors import DisdelError
from disdel.settings.fields import Declared, declared

# A command is one to type as it stands, up to a mark that ends the clause.
_COMMAND = (
    r"disdel (?:train|federate|partition|infer|plan|runs|dataset|stop|logs|report|platform|doctor)"
    r"\b[^;:,()`]*"
)
_FLAG = re.compile(
    rf"(?P<command>{_COMMAND})|(?P<flag>--[a-z][a-z-]*)(?: (?P<value>[A-Za-z0-9_.+-]*[A-Za-z0-9]))?"
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|N|K")


@contextmanager
def in_keywords(*classes: type) -> Iterator[None]:
    """Errors from here name the settings of `classes` as a Python program does."""
    try:
        yield
    except DisdelError as error:
        error.reworded(as_keywords(str(error), *classes))
        raise


def as_keywords(message: str, *classes: type) -> str:
    """A message with keywords for flags: `--sync epoch` becomes `sync='epoch'`.

    Commands in it stay as they are, and flags that are none of `classes`.
    """
    options = {option.flag: option for cls in classes for option in declared(cls)}

    def replaced(found: re.Match[str]) -> str:
        option, value = options.get(found["flag"]), found["value"]
        if option is None:
            return found[0]
        if value is None:
            return option.name
        if _NUMBER.fullmatch(value):
            return f"{option.name}={value}"
        if value in option.setting.words:
            return f"{option.name}={option.setting.words[value]!r}"
        return f"{option.name}={value!r}" if value in _names(option) else f"{option.name} {value}"

    return _FLAG.sub(replaced, message)


def _names(option: Declared) -> set[str]:
    """The texts that an option takes, where they are few."""
    return {text for kind in option.kinds if get_origin(kind) is Literal for text in get_args(kind)}
