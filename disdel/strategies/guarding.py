"""What a strategy of somebody else's raises, as one line that shows where."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from disdel.errors import DisdelError, StrategyFailed

_MOST_CHARS = 100

# Whether a method may return something, and what it may return in words.
Wanted: TypeAlias = tuple[Callable[[Any], bool], str]


def guard(kind: type, methods: Mapping[str, Wanted]) -> None:
    """Let what these methods of a class raise tell its name and its line.

    They then raise `StrategyFailed` where they raised what disdel does not raise itself, or return
    what nobody can use. Methods that the class inherits stay as they are.
    """
    for name, wanted in methods.items():
        method = vars(kind).get(name)
        if callable(method):
            setattr(kind, name, _guarded(method, wanted))


def _guarded(method: Callable[..., Any], wanted: Wanted) -> Callable[..., Any]:
    fits, told = wanted

    @functools.wraps(method)
    def called(strategy: Any, *args: Any, **given: Any) -> Any:
        try:
            result = method(strategy, *args, **given)
            is_fit = fits(result)
        except DisdelError:
            raise
        except Exception as error:
            said = "".join(traceback.format_exception_only(error)).strip()
            raise StrategyFailed(
                f"strategy {strategy.name} failed: {_place(strategy, error)}{said}"
            ) from error
        if not is_fit:
            raise StrategyFailed(
                f"strategy {strategy.name} failed: {method.__name__} must return {told}, and "
                f"returned {_short(result)}"
            )
        return result

    return called


def _short(result: object) -> str:
    text = repr(result)
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def _place(strategy: object, error: Exception) -> str:
    """The deepest line of the strategy's file that led to an error."""
    file = getattr(sys.modules.get(type(strategy).__module__), "__file__", None)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == file]
    if not frames:
        return ""
    text = f", `{frames[-1].line}`" if frames[-1].line else ""
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}{text}: "
