"""The strategies by name: those of this folder, a module each, and others that were registered.

One that is registered elsewhere travels to the actions as the file of its module, which there is
one of this folder.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from disdel import strategies
from disdel.errors import UsageError
from disdel.strategies.base import Strategy

if TYPE_CHECKING:
    # An action reads this module at each cold start, and needs no job.
    from disdel.types.job import TrainJob

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


def strategy_named(name: str, parameters: Mapping[str, Any]) -> Strategy:
    """The strategy of that name with these values of its fields; the others have their defaults.

    Raises:
        UsageError: there is none.
    """
    for module in pkgutil.iter_modules(strategies.__path__, f"{strategies.__name__}."):
        import_module(module.name)
    if name not in _REGISTERED:
        raise UsageError(f"--strategy {name!r} is unknown; known: {', '.join(sorted(_REGISTERED))}")
    return _REGISTERED[name](**parameters)


def strategy_of(job: TrainJob) -> Strategy:
    """The strategy that a job asks for.

    Raises:
        UsageError: there is none of that name.
    """
    return strategy_named(job.strategy, {"average": job.average})


def files_of(strategy: Strategy) -> dict[str, bytes]:
    """The files beyond the library that an action needs to have a strategy, by path in its zip.

    Raises:
        UsageError: its class is in no file.
    """
    files = {}
    for kind in type(strategy).__mro__:
        if not issubclass(kind, Strategy) or kind.__module__.startswith("disdel."):
            continue
        path = getattr(sys.modules[kind.__module__], "__file__", None)
        if path is None:
            raise UsageError(
                f"strategy {strategy.name} is in no file that actions could be given: put "
                f"{kind.__name__} into a module, which imports disdel and numpy alone"
            )
        files[f"disdel/strategies/{Path(path).stem}.py"] = Path(path).read_bytes()
    return files


def parameters_of(strategy: Strategy) -> dict[str, Any]:
    """The values of a strategy's fields, as `strategy_named` takes them."""
    return asdict(strategy)
