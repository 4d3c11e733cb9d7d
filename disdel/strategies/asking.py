"""What users and programs say of a strategy, as a class with its parameters, and back again.

`--strategy` names one and gives its parameters, as `fedprox:mu=0.1` or `FILE.py:CLASS:mu=0.1`. For
the host alone: an action is given name and values apart.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from disdel.errors import DisdelError, UsageError
from disdel.strategies.base import Strategy
from disdel.strategies.own import FOLDER, own_code
from disdel.strategies.registry import class_named, registered, strategy_names
from disdel.types.learning import LearningJob
from disdel.types.named import parameters_said, read_named, usage
from disdel.types.names import Average

Job = TypeVar("Job", bound=LearningJob)

# What another option says.
_ELSEWHERE = ("average",)


def strategy_usages() -> tuple[str, ...]:
    """How each of them is written, with the defaults of its parameters: `fedprox[:mu=0.01]`."""
    return tuple(usage(name, class_named(name), leave_out=_ELSEWHERE) for name in strategy_names())


def strategy_said(
    text: str, average: Average = "samples", *, option: str = "--strategy"
) -> Strategy:
    """The strategy that an option names, with the parameters that it gives.

    Raises:
        UsageError: there is none of that name, or a parameter is unknown, of another type or out
            of range.
    """
    named = read_named(text)
    kind = class_named(named.name)
    said = parameters_said(named, kind, option, leave_out=_ELSEWHERE)
    try:
        return kind(**said, average=average)
    except DisdelError:
        raise
    except Exception as error:  # of a class of the user's own
        raise UsageError(f"{option} {text}: {type(error).__name__}: {error}") from error


def strategy_of(job: LearningJob) -> Strategy:
    """The strategy that a job asks for.

    Raises:
        UsageError: there is none of that name, or not with these parameters.
    """
    if job.outer is None:
        strategy = strategy_said(job.strategy, job.average)
        if job.average == "epochs" and not strategy.weighs:
            raise UsageError(
                f"--average epochs weighs updates, and strategy {strategy.name} looks at no "
                "weights: leave it out"
            )
        return strategy
    strategy = strategy_said(job.outer, job.average, option="--outer")
    if not strategy.is_outer:
        outer = [name for name in strategy_names() if class_named(name).is_outer]
        raise UsageError(
            f"--outer {job.outer} is no optimizer of the averaged difference; those are "
            f"{', '.join(outer)}"
        )
    return strategy


def text_of(strategy: Strategy) -> str:
    """What `--strategy` says for a strategy, with all of its parameters.

    Raises:
        UsageError: its class has no name that an action would know it by.
    """
    name = name_of(strategy)
    said = [
        f"{key}={_written(value)}"
        for key, value in parameters_of(strategy).items()
        if key not in _ELSEWHERE
    ]
    return f"{name}:{','.join(said)}" if said else name


def in_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a program, whose strategy or outer optimizer may be an object, as a job has them.

    Raises:
        UsageError: it is no such object, it weighs updates in another way than the option
            `average`, or its class has no name that an action would know it by.
    """
    said = dict(options)
    for name in ("strategy", "outer"):
        given = said.get(name)
        if isinstance(given, type) and issubclass(given, Strategy):
            raise UsageError(
                f"{name}={given.__name__} is a class: give an object of it, as "
                f"{name}={given.__name__}()"
            )
        if given is None or isinstance(given, str):
            continue
        if not isinstance(given, Strategy):
            raise UsageError(
                f"{name} must be a text, or an object of a class of disdel.strategies, not "
                f"{given!r}"
            )
        average = said.get("average", given.average)
        if given.average not in (average, "samples"):
            raise UsageError(
                f"average={average!r} is not what the {name} has, average={given.average!r}: give "
                "one of them"
            )
        said |= {name: text_of(given), "average": average}
    return said


def with_whole_strategy(job: Job) -> Job:
    """A job whose strategy is said with all of its parameters, by one word.

    So a report tells them all, and a run that is resumed has them, whatever defaults become.

    Raises:
        UsageError: there is no such strategy.
    """
    return replace(job, strategy=text_of(strategy_of(job)), outer=None)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def name_of(strategy: Strategy) -> str:
    """The name that `strategy_named` knows its class by.

    Raises:
        UsageError: it is neither registered nor in a file.
    """
    kind = type(strategy)
    if kind.entry is not None:
        return kind.entry
    if registered(kind.name) is kind:
        return kind.name
    path = _file_of(kind)
    if path is None or "." in kind.__qualname__:
        raise UsageError(
            f"{kind.__name__} is in no file that actions could be given: put it into a module, "
            "which imports disdel and numpy alone"
        )
    return f"{path}:{kind.__qualname__}"


def _file_of(kind: type) -> Path | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return None if file is None else Path(file)


def files_of(strategy: Strategy) -> dict[str, bytes]:
    """The files beyond the library that an action needs to have a strategy, by path in its zip.

    Raises:
        UsageError: its class is in no file.
    """
    code = own_code(strategy)
    if code is not None:
        return {f"{FOLDER}/{name}": data for name, data in code.laid_out().items()}
    files = {}
    for kind in type(strategy).__mro__:
        if not issubclass(kind, Strategy) or kind.__module__.startswith("disdel."):
            continue
        path = _file_of(kind)
        if path is None:
            raise UsageError(
                f"strategy {strategy.name} is in no file that actions could be given: put "
                f"{kind.__name__} into a module, which imports disdel and numpy alone"
            )
        files[f"disdel/strategies/{path.stem}.py"] = path.read_bytes()
    return files


def parameters_of(strategy: Strategy) -> dict[str, Any]:
    """The values of a strategy's fields, as `strategy_named` takes them."""
    return asdict(strategy)
