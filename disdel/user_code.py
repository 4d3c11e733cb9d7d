"""The user's own Python code: found and collected on the host, imported and called where it runs.

An entry names a function: `path/to/net.py:make`, or `package.module:make`. Of a file, what travels
is the file and the modules beside it that it imports, directly or through others; of a package, all
of its Python files. They travel as files and are never pickled.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path, PurePosixPath
from types import MappingProxyType, ModuleType, TracebackType
from typing import TypeVar

from disdel.errors import UsageError
from disdel.types import CodeRef

T = TypeVar("T")

# Where the files lie in the bundle of an action.
FOLDER = "user_code"

_ENTRY = re.compile(
    r"(?P<source>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)"
)
# A file is imported under a name of its own, so that `types.py` or `keras.py` hides nothing.
_MODULE_PREFIX = "user_code_"
_MOST_BYTES = 8 << 20
_REF_NAME = "disdel-code.json"
# Frameworks come with disdel's extras.
_EXTRAS = {
    "keras": "disdel[tensorflow]",
    "tensorflow": "disdel[tensorflow]",
    "tensorflow_datasets": "disdel[datasets]",
    "torch": "disdel[torch]",
}


@dataclass(frozen=True, slots=True)
class UserCode:
    """A function of the user's, and the files that it needs.

    Attributes:
        ref: which function it is.
        folder: where the files are on this machine.
        files: by path relative to that folder, with forward slashes.
    """

    ref: CodeRef
    folder: Path
    files: Mapping[str, bytes]

    def laid_out(self) -> dict[str, bytes]:
        """The files with one that says which function it is, for `read_code`."""
        return {**self.files, _REF_NAME: json.dumps(asdict(self.ref)).encode()}

    def write(self, folder: Path) -> None:
        """Lay the files out in `folder`."""
        for name, data in self.laid_out().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def read_code(folder: Path) -> UserCode | None:
    """The code that was laid out in `folder`; None where there is none."""
    try:
        fields = json.loads((folder / _REF_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    ref = CodeRef(**{**fields, "requirements": tuple(fields["requirements"])})
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")
    }
    return UserCode(ref, folder, MappingProxyType(files))


def is_entry(text: str) -> bool:
    """Whether `text` has the form of an entry."""
    return _ENTRY.fullmatch(text) is not None


def collect(entry: str) -> UserCode:
    """The files behind an entry; nothing of them is run.

    Raises:
        UsageError: there is no such file or module, it does not compile, or `requirements` is not
            a list of requirements.
    """
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise UsageError(f"{entry!r} is neither FILE.py:FUNCTION nor PACKAGE.MODULE:FUNCTION")
    source, function = match["source"], match["function"]
    if source.endswith(".py"):
        path = Path(source).expanduser()
        if not path.is_file():
            raise UsageError(f"{entry}: there is no file {path}")
        root, files = path.parent, _with_siblings(path)
        source = path.name
    else:
        root, files = _package_files(entry, source)
        path = root / _file_of(source, files)
    contents = {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(files)}
    if (size := sum(map(len, contents.values()))) > _MOST_BYTES:
        raise UsageError(
            f"{entry}: its Python files are {size >> 20} MB, and {_MOST_BYTES >> 20} MB can travel "
            "to an action; put the function into a file of its own"
        )
    digest = hashlib.blake2b(f"{source}:{function}".encode(), digest_size=16)
    for name, data in contents.items():
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    ref = CodeRef(
        entry=entry,
        source=source,
        function=function,
        requirements=_requirements(entry, _parse(path)),
        digest=digest.hexdigest(),
    )
    return UserCode(ref, root, MappingProxyType(contents))


def _with_siblings(path: Path) -> set[Path]:
    """A file and the modules and packages beside it that it leads to."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in _imported(_parse(file)):
            beside = path.parent / name
            if beside.with_suffix(".py").is_file():
                waiting.append(beside.with_suffix(".py"))
            elif (beside / "__init__.py").is_file():
                waiting += beside.rglob("*.py")
    return found


def _package_files(entry: str, module: str) -> tuple[Path, set[Path]]:
    """The folder that a module's top-level package lies in, and the package's Python files."""
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(
            f"{entry}: there is no Python package or module {top!r} here; a file is named with its "
            f"ending: {top}.py:FUNCTION"
        )
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return origin.parent, _with_siblings(origin)
    return origin.parent.parent, set(origin.parent.rglob("*.py"))


def _file_of(module: str, files: set[Path]) -> str:
    """The file of a dotted module, relative to the folder of its top-level package."""
    path = PurePosixPath(*module.split("."))
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        if any(file.as_posix().endswith(f"/{candidate}") for file in files):
            return candidate
    raise UsageError(f"there is no module {module!r}: {path}.py does not exist")


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise UsageError(f"{where}: {getattr(error, 'msg', error)}") from error


def _imported(tree: ast.Module) -> Iterator[str]:
    """The top-level names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def imported_packages(folder: Path) -> frozenset[str]:
    """The top-level names that the Python files in `folder` import, anywhere in them."""
    return frozenset(name for path in folder.rglob("*.py") for name in _imported(_parse(path)))


def _requirements(entry: str, tree: ast.Module) -> tuple[str, ...]:
    from packaging.requirements import InvalidRequirement, Requirement

    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not any(isinstance(name, ast.Name) and name.id == "requirements" for name in targets):
            continue
        try:
            listed = ast.literal_eval(node.value)
            # A text alone would be read letter by letter.
            texts = (listed,) if isinstance(listed, str) else listed
            return tuple(str(Requirement(text)) for text in texts)
        except (ValueError, TypeError, InvalidRequirement) as error:
            raise UsageError(
                f"{entry}, line {node.lineno}: requirements must be a list of texts such as "
                f'["scikit-image>=0.22"] ({str(error).splitlines()[0]})'
            ) from error
    return ()


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
        if str(self._folder) not in sys.path:
            sys.path.insert(0, str(self._folder))
        self._module = self.guarded(self._import)

    def _import(self) -> ModuleType:
        source = self.code.source
        if not source.endswith(".py"):
            return importlib.import_module(source)
        name = _MODULE_PREFIX + re.sub(r"\W", "_", source.removesuffix(".py"))
        spec = spec_from_file_location(name, self._folder / source)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        # Where classes of the module are looked up when a saved model that has them is loaded.
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def attribute(self, name: str) -> object:
        """A value beside the function; None where there is none.

        An imported module does not count: `from keras import metrics` sets no metrics.
        """
        value = getattr(self._module, name, None)
        return None if isinstance(value, ModuleType) else value

    def definitions(self) -> dict[str, object]:
        """The classes and functions that its files define, by name."""
        return {
            name: value
            for module in list(sys.modules.values())
            if _lies_in(module, self._folder)
            for name, value in vars(module).items()
            if (isinstance(value, type) or inspect.isfunction(value))
            and value.__module__ == module.__name__
        }

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
                f"{self.code.entry} wants {', '.join(missing)}, which nobody gives it; give them "
                f"defaults.{can_have}"
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
                f"{self.code.source} has a {type(found).__name__} called {name!r}, where a "
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
        try:
            return run()
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(self.describe(error)) from error

    def describe(self, error: BaseException) -> str:
        """An error with the user's line that led to it."""
        where = _line_within(error.__traceback__, self._folder) or self.code.entry
        said = _plain("".join(traceback.format_exception_only(error)))
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            package = error.name.partition(".")[0]
            if package in _EXTRAS:
                return f"{where}: {package} is not installed: pip install '{_EXTRAS[package]}'"
            return f"{where}: this runtime lacks the package {package}; {_how_to_add(package)}"
        return f"{where}: {said}"


def _plain(text: str) -> str:
    """A message without colours, and without Keras's list of the arguments of a call."""
    return re.sub(r"\x1b\[\d*m", "", text).partition("\n\nArguments received by")[0].strip()


def _lies_in(module: ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder)


def _line_within(trace: TracebackType | None, folder: Path) -> str | None:
    """The deepest line of a traceback that lies in `folder`, for people."""
    inside = None
    for frame in traceback.extract_tb(trace):
        if Path(frame.filename).resolve().is_relative_to(folder):
            inside = frame
    if inside is None:
        return None
    name = Path(inside.filename).resolve().relative_to(folder)
    text = (inside.line or linecache.getline(inside.filename, inside.lineno or 0)).strip()
    return f"{name}, line {inside.lineno}, `{text}`" if text else f"{name}, line {inside.lineno}"
