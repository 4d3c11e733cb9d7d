"""What a strategy raises, as one line that shows where."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disdel.errors import DisdelError, StrategyFailed
from disdel.strategies.base import Strategy


@contextmanager
def guarded(strategy: Strategy) -> Iterator[None]:
    """Within, an error of a strategy's own code becomes one that shows its line.

    Raises:
        StrategyFailed: something was raised that disdel does not raise itself.
    """
    try:
        yield
    except DisdelError:
        raise
    except Exception as error:
        said = "".join(traceback.format_exception_only(error)).strip()
        raise StrategyFailed(
            f"strategy {strategy.name} failed: {_place(strategy, error)}{said}"
        ) from error


def _place(strategy: Strategy, error: Exception) -> str:
    """The deepest line of the strategy's file that led to an error."""
    file = getattr(sys.modules.get(type(strategy).__module__), "__file__", None)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == file]
    if not frames:
        return ""
    text = f", `{frames[-1].line}`" if frames[-1].line else ""
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}{text}: "
