"""The strategies by name: those of this folder, others that were registered, and the user's files.

One that is registered elsewhere travels to the actions as the file of its module, which there is
one of this folder; a class in a file of the user's, with the files beside it that it imports. An
action reads this module: what the host alone needs is in `asking`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from disdel import strategies
from disdel.errors import UsageError
from disdel.strategies.base import Strategy

_Kind = TypeVar("_Kind", bound=type[Strategy])
_REGISTERED: dict[str, type[Strategy]] = {}


def register(kind: _Kind) -> _Kind:
    """Let jobs ask for a strategy by its name: a decorator of its class.

    A class that is defined anew, as in a notebook, takes the place of the earlier one.

    Raises:
        UsageError: another class has the name.
    """
    known = _REGISTERED.get(kind.name, kind)
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise UsageError(
            f"{kind.__module__}.{kind.__qualname__} and {known.__module__}.{known.__qualname__} "
            f"are both strategies of the name {kind.name}: give one another"
        )
    _REGISTERED[kind.name] = kind
    return kind


def strategy_names() -> tuple[str, ...]:
    """The names that `--strategy` takes, in order."""
    for module in pkgutil.iter_modules(strategies.__path__, f"{strategies.__name__}."):
        import_module(module.name)
    return tuple(sorted(_REGISTERED))


def registered(name: str) -> type[Strategy] | None:
    """What is registered under a name so far."""
    return _REGISTERED.get(name)


def class_named(name: str) -> type[Strategy]:
    """The class of a strategy: a registered name, or `FILE.py:CLASS`.

    Raises:
        UsageError: there is none, or the user's file does not make one.
    """
    if ":" in name or name.endswith(".py"):
        # Most actions need none of what this reads.
        from disdel.strategies.own import own_class

        return own_class(name)
    if name not in _REGISTERED:
        # Importing one module of this folder instead of all matters to an action's start.
        module = f"{strategies.__name__}.{name.replace('-', '_')}"
        if name.replace("-", "").isidentifier() and find_spec(module) is not None:
            import_module(module)
    if name not in _REGISTERED and name not in strategy_names():
        known = ", ".join(strategy_names())
        raise UsageError(
            f"--strategy {name!r} is unknown; known: {known}, and FILE.py:CLASS for your own"
        )
    return _REGISTERED[name]


def strategy_named(name: str, parameters: Mapping[str, Any]) -> Strategy:
    """The strategy of that name with these values of its fields; the others have their defaults.

    Raises:
        UsageError: there is none, or a value is none of its parameter's.
    """
    return class_named(name)(**parameters)
