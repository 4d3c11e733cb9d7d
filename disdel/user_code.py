"""The user's own Python code: found and collected on the host; `user_module` runs it.

An entry names a function: `path/to/net.py:make`, or `package.module:make`. Of a file, what travels
is the file and the modules beside it that it imports, directly or through others; of a package, all
of its Python files. They travel as files and are never pickled.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TypeVar

from disdel.errors import UsageError
from disdel.types import CodeRef

T = TypeVar("T")

# Where the files lie in the bundle of an action.
FOLDER = "user_code"

_ENTRY = re.compile(
    r"(?P<source>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)"
)
_MOST_BYTES = 8 << 20
_REF_NAME = "disdel-code.json"


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
        try:
            path = Path(source).expanduser()
        except RuntimeError as error:
            raise UsageError(f"{entry}: there is no such home folder") from error
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
