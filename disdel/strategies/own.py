"""A strategy of the user's own: a class in a file, `FILE.py:CLASS`.

Its file, and what that imports from beside it, travel to the actions as a network's code does, and
lie there in a folder of their own.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from disdel.errors import UsageError
from disdel.strategies.base import Strategy
from disdel.types.specs import CodeRef
from disdel.user_code.collecting import UserCode, collect, read_code
from disdel.user_code.module import UserModule

# Where the files lie in the bundle of an action, beside the library.
FOLDER = "user_strategy"

_HERE = Path(__file__).parents[2] / FOLDER

# By entry and content: a file that was changed meanwhile is another one.
_CLASSES: dict[tuple[str, str], type[Strategy]] = {}
_CODES: dict[type[Strategy], UserCode] = {}


def own_class(entry: str) -> type[Strategy]:
    """The class that `FILE.py:CLASS` names: of the user's file, or of what has travelled with it.

    Raises:
        UsageError: there is no such file or class, it fails, or it is no strategy.
    """
    code = read_code(_HERE) or collect(entry)
    place = (entry, code.ref.digest)
    known = _CLASSES.get(place)
    if known is None:
        known = _CLASSES[place] = _loaded(code.ref, code.folder)
        known.entry = entry
        _CODES[known] = code
    return known


def own_code(strategy: Strategy) -> UserCode | None:
    """The files of a strategy of the user's own; None for others."""
    return _CODES.get(type(strategy))


def _loaded(ref: CodeRef, folder: Path) -> type[Strategy]:
    found = UserModule(ref, folder).attribute(ref.function)
    told = f"--strategy {ref.entry}"
    if found is None:
        raise UsageError(f"{told}: {ref.source} has no class {ref.function}")
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise UsageError(
            f"{told}: {ref.function} is no strategy; it must be a class derived from "
            "disdel.strategies.Strategy, or from one of those there as FedAvg"
        )
    if found.__module__.startswith("disdel."):
        raise UsageError(f"{told} is one of disdel's: say --strategy {found.name}")
    if inspect.isabstract(found):
        missing = " and ".join(sorted(found.__abstractmethods__))
        raise UsageError(f"{told}: {ref.function} lacks {missing}; FedAvg has them")
    if "name" not in vars(found):
        found.name = ref.function
    return found
