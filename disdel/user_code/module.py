"""Run the user's own code: its module is imported and its function called where the files lie."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.metadata
import inspect
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn, TypeVar

from disdel.errors import UsageError
from disdel.types.specs import CodeRef
from disdel.types.words import a_kind
from disdel.user_code.imports import UserImports

T = TypeVar("T")

# A file is imported under a name of its own, so that `types.py` or `keras.py` hides nothing.
_MODULE_PREFIX = "user_code_"
# Frameworks come with disdel's extras.
_EXTRAS = {
    "keras": "disdel[tensorflow]",
    "tensorflow": "disdel[tensorflow]",
    "tensorflow_datasets": "disdel[datasets]",
    "torch": "disdel[torch]",
}


def check_requirements(entry: str, requirements: tuple[str, ...]) -> None:
    """Refuse to run code whose packages this interpreter lacks.

    Raises:
        UsageError: one is missing, or another version is installed.
    """
    from packaging.requirements import Requirement

    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found: str | None = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            has = "is not installed" if found is None else f"is there in version {found}"
            raise UsageError(
                f"{entry} requires {text}, and {wanted.name} {has}; {_how_to_add(text)}"
            )


def _how_to_add(requirement: str) -> str:
    return (
        f"pip install '{requirement}' here and for the embedded platform; for a cluster add it to "
        "runtime-image/requirements and run runtime-image/build"
    )


class UserModule:
    """The imported module of some user code.

    Args:
        code: what to import; its files already lie in `folder`.
        folder: where they lie.

    Raises:
        UsageError: a required package is missing, or importing the module failed.
    """

    def __init__(self, code: CodeRef, folder: Path) -> None:
        check_requirements(code.entry, code.requirements)
        self.code = code
        self._folder = folder.resolve()
        self._imports = UserImports(self._folder)
        self._module = self.guarded(self._import)

    def _import(self) -> ModuleType:
        source = self.code.source
        if not source.endswith(".py"):
            return importlib.import_module(source)
        name = _MODULE_PREFIX + re.sub(r"\W", "_", source.removesuffix(".py"))
        return self._imports.load(name, self._folder / source)

    def attribute(self, name: str) -> object:
        """A value beside the function; None where there is none.

        An imported module does not count: `from keras import metrics` sets no metrics.
        """
        value = getattr(self._module, name, None)
        return None if isinstance(value, ModuleType) else value

    def place_of(self, name: str) -> str:
        """The line that says what stands beside the function, for people; else the function."""
        file = Path(self._module.__file__ or "")
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError):  # the file has been removed or changed meanwhile
            return self.code.entry
        lines = [node.lineno for node in tree.body if name in _bound(node)]
        if not lines:
            return self.code.entry
        text = linecache.getline(str(file), lines[-1]).strip()
        return _place(file.resolve(), self._folder, lines[-1], text)

    def place_of_code(self, function: object) -> str:
        """The line where a function of the user's begins, for people; else the function."""
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        file = Path("" if code is None else code.co_filename).resolve()
        if code is None or not file.is_relative_to(self._folder):
            return self.code.entry
        text = linecache.getline(str(file), code.co_firstlineno).strip()
        return _place(file, self._folder, code.co_firstlineno, text)

    def definitions(self) -> dict[str, object]:
        """The classes and functions that its files define, by name."""
        return {
            name: value
            for module in self._imports.modules.values()
            for name, value in vars(module).items()
            if (isinstance(value, type) or inspect.isfunction(value))
            and value.__module__ == module.__name__
        }

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter that `call` can give a value of this name."""
        try:
            return name in inspect.signature(self._function()).parameters
        except (TypeError, ValueError):
            return False

    def call(self, **offered: object) -> object:
        """Call the function with those of `offered` that it has parameters for.

        Raises:
            UsageError: there is no such function, it wants more, or it failed.
        """
        function = self._function()
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return self.guarded(function)
        missing = [
            parameter.name
            for parameter in parameters
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and parameter.name not in offered
        ]
        if missing:
            can_have = f" It can have {' and '.join(offered)}." if offered else ""
            raise UsageError(
                f"{self.code.entry} wants {', '.join(missing)}, which nobody gives it; give "
                f"{'them defaults' if len(missing) > 1 else 'it a default'}.{can_have}"
            )
        given = {p.name: offered[p.name] for p in parameters if p.name in offered}
        return self.guarded(lambda: function(**given))

    def _function(self) -> Callable[..., object]:
        name = self.code.function
        found = getattr(self._module, name, None)
        if callable(found) and (inspect.isroutine(found) or isinstance(found, type)):
            return found
        if found is not None:
            raise UsageError(
                f"{self.code.source} has {a_kind(found)} called {name!r}, where a "
                f"function that returns one is needed: def {name}(): …"
            )
        functions = [
            key
            for key, value in vars(self._module).items()
            if inspect.isfunction(value) and value.__module__ == self._module.__name__
        ]
        near = difflib.get_close_matches(name, functions, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(
            f"{self.code.source} has no function {name!r}{hint}; it has "
            f"{', '.join(functions) or 'none'}"
        )

    def guarded(self, run: Callable[[], T]) -> T:
        """What `run` returns; what it raises becomes an error that shows the user's own line.

        Raises:
            UsageError: `run` raised something.
        """
        process = os.getpid()
        try:
            with self._imports.in_place():
                return run()
        except (UsageError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit, and whatever a library has derived from it
            raise UsageError(self.describe(error)) from error
        finally:
            # A child that the user's code has forked, and that came back as its parent does.
            if os.getpid() != process:
                os._exit(0)

    def describe(self, error: BaseException) -> str:
        """An error with the user's line that led to it."""
        where = _line_within(error.__traceback__, self._folder) or self.code.entry
        said = _plain("".join(traceback.format_exception_only(error)))
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            package = error.name.partition(".")[0]
            if package in _EXTRAS:
                return f"{where}: {package} is not installed: pip install '{_EXTRAS[package]}'"
            if package != error.name and sys.modules.get(package) is not None:
                return f"{where}: {error.name} is not in the {package} that this runtime has"
            return f"{where}: this runtime lacks the package {package}; {_how_to_add(package)}"
        return f"{where}: {said}"


def end_process(status: int) -> NoReturn:
    """End this process, whatever threads and clean-ups the user's code has left in it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _plain(text: str) -> str:
    """A message without colours, and without Keras's list of the arguments of a call."""
    return re.sub(r"\x1b\[\d*m", "", text).partition("\n\nArguments received by")[0].strip()


def _line_within(trace: TracebackType | None, folder: Path) -> str | None:
    """The deepest line of a traceback that lies in `folder`, for people."""
    inside = None
    for frame in traceback.extract_tb(trace):
        if Path(frame.filename).resolve().is_relative_to(folder):
            inside = frame
    if inside is None:
        return None
    text = (inside.line or linecache.getline(inside.filename, inside.lineno or 0)).strip()
    return _place(Path(inside.filename).resolve(), folder, inside.lineno, text)


def _place(file: Path, folder: Path, line: int | None, text: str) -> str:
    where = f"{file.relative_to(folder)}, line {line}"
    return f"{where}, `{text}`" if text else where


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of a module gives a value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    return {
        name.id
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
