"""Where an executor comes from, how it is given a call, and how many it runs at once."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disdel.entry.executor_call import run
from disdel.errors import UsageError

_FORMS = "FILE.py:FUNCTION or MODULE:ATTRIBUTE"
# What the own executors of Parsl and Globus Compute take before the arguments.
_RESOURCES = "resource_specification"


@dataclass(slots=True, eq=False)
class Source:
    """An executor that is given, or made when it is needed.

    Attributes:
        called: what messages call it.
        make: makes one; None where one is given.
    """

    called: str
    make: Callable[[], Any] | None
    _executor: Any = None

    @classmethod
    def of(cls, given: Any) -> Source:
        """Of what a program gives: an executor, or a function that makes one.

        Raises:
            UsageError: it is neither.
        """
        called = f"the executor {type(given).__name__}"
        if not isinstance(given, type) and callable(getattr(given, "submit", None)):
            return cls(called, None, given)
        if callable(given):
            return cls(f"the executor of {getattr(given, '__name__', called)}", given)
        raise UsageError(
            f"on must be an executor, which has submit(f, *args), or a function that makes one, "
            f"not {type(given).__name__}"
        )

    @classmethod
    def named(cls, name: str) -> Source:
        """Of a name, `FILE.py:FUNCTION` or `MODULE:ATTRIBUTE`.

        Raises:
            UsageError: there is nothing of that name, or it is no executor.
        """
        given = _found(name)
        if not callable(given) and not hasattr(given, "submit"):
            raise UsageError(f"{name} is {type(given).__name__}, which is no executor: {_FORMS}")
        source = cls.of(given)
        source.called = f"the executor {name}"
        return source

    @property
    def executor(self) -> Any:
        """The executor, which is made by the first who asks.

        Raises:
            UsageError: it cannot be made.
        """
        if self._executor is None:
            assert self.make is not None
            try:
                made = self.make()
            except (Exception, SystemExit) as error:
                raise UsageError(f"{self.called} cannot be made: {_last_line(error)}") from error
            if not callable(getattr(made, "submit", None)):
                kind = type(made).__name__
                raise UsageError(f"{self.called} is {kind}, which has no submit(f, *args)")
            self._executor = made
        return self._executor

    def submit(self, text: str) -> Any:
        """The future of a call's answer."""
        submit = self.executor.submit
        with suppress(TypeError, ValueError):
            if _RESOURCES in inspect.signature(submit).parameters:
                return submit(run, {}, text)
        return submit(run, text)

    def renew(self, broken: BaseException) -> bool:
        """Take leave of an executor that takes no more calls; false where there is no other."""
        if not isinstance(broken, BrokenExecutor):
            return True
        if self.make is None:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Shut down an executor that was made here; a given one is its owner's."""
        if self.make is None or self._executor is None:
            return
        executor, self._executor = self._executor, None
        for name in ("shutdown", "close"):
            if callable(end := getattr(executor, name, None)):
                # What it says at its end changes nothing.
                with suppress(Exception):
                    end()
                return

    def workers(self) -> int | None:
        """How many calls the executor runs at once; None where it does not tell.

        It tells in one of the ways of concurrent.futures and loky, Dask, and Parsl.
        """
        executor = self.executor
        ways: tuple[Callable[[], Any], ...] = (
            lambda: executor._max_workers,
            lambda: sum(executor.nthreads().values()),
            lambda: sum(executor._client.nthreads().values()),
            lambda: sum(_of_parsl(each) for each in executor._dfk.executors.values()),
            lambda: _of_parsl(executor),
        )
        for way in ways:
            with suppress(Exception):
                found = way()
                if isinstance(found, int) and found > 0:
                    return found
        return None


def _of_parsl(executor: Any) -> int:
    if executor.label.startswith("_parsl"):  # Parsl's own, which runs no calls of users'.
        return 0
    if (threads := getattr(executor, "max_threads", None)) is not None:
        return int(threads)
    provider = executor.provider
    node = int(executor.max_workers_per_node)
    return node * int(provider.nodes_per_block) * int(provider.max_blocks)


def _found(name: str) -> Any:
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        raise UsageError(f"the executor {name!r} must be {_FORMS}")
    try:
        module = _loaded(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(f"the executor {name!r} needs {error.name}, which is not there") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{place} cannot be imported: {_last_line(error)}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"the executor {name!r}: {place} has no {attribute}")
    return getattr(module, attribute)


def _loaded(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(f"there is no file {file}: name the executor as {_FORMS}")
    name = f"disdel_executor_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _last_line(error: BaseException) -> str:
    """An error, with the line of whose code it is."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{at}"
