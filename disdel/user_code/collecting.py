"""The user's own Python code: found and collected on the host; `user_module` runs it.

An entry names a function: `path/to/net.py:make`, or `package.module:make`. Of a file, what travels
is the file and the modules beside it that it imports, directly or through others; of a package, all
of its Python files; and of both, the files beside them that the code names by a text in it, or that
it lists in `files_beside`. They travel as files and are never pickled.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path, PurePosixPath
from sysconfig import get_path
from types import MappingProxyType
from typing import TypeVar

from disdel.errors import UsageError
from disdel.types.specs import CodeRef
from disdel.user_code.texts import Beside, files_listed, files_named

T = TypeVar("T")

# Where the files lie in the bundle of an action.
FOLDER = "user_code"
# Likewise, of the function that loads a client's own samples.
DATA_FOLDER = "client_data"

_ENTRY = re.compile(
    r"(?P<source>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)"
)
# A file of code, with no function or something that is none.
# Of functions, those that seem to make a network.
_MODEL_ALIKE = re.compile("model|net|make|build|create", re.IGNORECASE)
_FILE_ALONE = re.compile(r"(?P<file>.+\.py)(:.*)?", re.DOTALL)
# The names of files that travel with the code, where it lists them itself.
_LISTED = "files_beside"
_MOST_BYTES = 8 << 20
# Beside the library in one zip; a platform may allow less (`Capacity.code_bytes`).
_MOST_LISTED_BYTES = 32 << 20
_REF_NAME = "disdel-code.json"
_OF_A_LIBRARY = (
    "write a function that calls it into a file of yours, and name that, FILE.py:FUNCTION"
)


@dataclass(frozen=True, slots=True)
class UserCode:
    """A function of the user's, and the files that it needs.

    Attributes:
        ref: which function it is.
        folder: where the files are on this machine.
        files: by path relative to that folder, with forward slashes.
        left_out: sentences on what the code names and what does not travel.
    """

    ref: CodeRef
    folder: Path
    files: Mapping[str, bytes]
    left_out: tuple[str, ...] = ()

    @property
    def python(self) -> dict[str, bytes]:
        """Those of the files that are Python's."""
        return {name: data for name, data in self.files.items() if name.endswith(".py")}

    @property
    def text(self) -> bytes:
        """Of the file that has the function, or the name of it."""
        source = self.ref.source
        names = (source,) if source.endswith(".py") else _names_of(source)
        return next(self.files[name] for name in names if name in self.files)

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
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / _REF_NAME and "__pycache__" not in path.parts
    }
    return UserCode(ref, folder, MappingProxyType(files))


def is_entry(text: str) -> bool:
    """Whether `text` has the form of an entry, or is a file of code whose function is missing."""
    return _ENTRY.fullmatch(text) is not None or _FILE_ALONE.fullmatch(text) is not None


def collect(entry: str) -> UserCode:
    """The files behind an entry; nothing of them is run.

    Raises:
        UsageError: there is no such file or module, it does not compile, or `requirements` is not
            a list of requirements.
    """
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise _without_function(entry)
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
    root = root.absolute()
    trees = {file.absolute(): _parse(file) for file in files}
    beside = _files_beside(entry, _parse(path), trees, root)
    contents = {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(trees.keys() | beside.files)
    }
    left_out = tuple(
        f"{file.relative_to(root)} ({size}), which {source} names, stays here: actions that need "
        f"it are given it by {_LISTED} = [...] in {source}"
        for file, size in sorted(beside.left_out.items())
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
    return UserCode(ref, root, MappingProxyType(contents), left_out)


def _without_function(entry: str) -> UsageError:
    """What to name in place of an entry that names no function."""
    match = _FILE_ALONE.fullmatch(entry)
    if match is None:
        return UsageError(f"{entry!r} is neither FILE.py:FUNCTION nor PACKAGE.MODULE:FUNCTION")
    file = match["file"]
    if not Path(file).is_file():
        return UsageError(f"there is no file {file}: name one that is there, as FILE.py:FUNCTION")
    kinds = ast.FunctionDef | ast.ClassDef
    names = [node.name for node in _parse(Path(file)).body if isinstance(node, kinds)]
    # Those that begin so are for the file's own use.
    public = [name for name in names if not name.startswith("_")] or names
    if not public:
        return UsageError(f"{entry} names no function, and {file} has none: it needs one")
    likeliest = next((name for name in public if _MODEL_ALIKE.search(name)), public[0])
    return UsageError(
        f"{entry} names no function: name one as {file}:{likeliest}; {file} has {', '.join(public)}"
    )


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
            elif beside.is_dir():  # a package, also one without `__init__.py`
                waiting += beside.rglob("*.py")
    return found


def _package_files(entry: str, module: str) -> tuple[Path, set[Path]]:
    """The folder that a module's top-level package lies in, and the package's Python files."""
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    # A module of the user's may have the name of one of Python's.
    is_here = spec and spec.origin and Path(spec.origin).is_relative_to(Path.cwd())
    if top in sys.stdlib_module_names and not is_here:
        raise UsageError(f"{entry} is of Python's own library: {_OF_A_LIBRARY}")
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(
            f"{entry}: there is no Python package or module {top!r} here; a file is named with its "
            f"ending: {top}.py:FUNCTION"
        )
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return origin.parent, _with_siblings(origin)
    installed = any(origin.is_relative_to(get_path(kind)) for kind in ("purelib", "platlib"))
    if installed and any(origin.parent.rglob(f"*{EXTENSION_SUFFIXES[-1]}")):
        raise UsageError(
            f"{entry} is of the library {top}, parts of which are no Python and cannot travel to "
            f"the actions: {_OF_A_LIBRARY}"
        )
    return origin.parent.parent, set(origin.parent.rglob("*.py"))


def _file_of(module: str, files: set[Path]) -> str:
    """The file of a dotted module, relative to the folder of its top-level package."""
    names = _names_of(module)
    for name in names:
        if any(file.as_posix().endswith(f"/{name}") for file in files):
            return name
    raise UsageError(f"there is no module {module!r}: {names[0]} does not exist")


def _names_of(module: str) -> tuple[str, str]:
    """What the file of a dotted module may be called, below the folder of its package."""
    path = PurePosixPath(*module.split("."))
    return f"{path}.py", f"{path}/__init__.py"


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


def packages_of(code: UserCode) -> frozenset[str]:
    """The top-level names that the code imports."""
    trees = (ast.parse(source) for source in code.python.values())
    return frozenset(name for tree in trees for name in _imported(tree))


def _files_beside(
    entry: str, main: ast.Module, code: Mapping[Path, ast.Module], root: Path
) -> Beside:
    """What travels beside the Python files: what `files_beside` lists, else what the code names."""
    if (node := _assigned(main, _LISTED)) is None:
        beside, most = files_named(code, root), _MOST_BYTES
    else:
        try:
            beside, most = Beside(files_listed(_texts_of(node), root), {}), _MOST_LISTED_BYTES
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{entry}, line {node.lineno}: {_LISTED} must be a list of names or patterns such "
                f'as ["vocabulary.txt", "tables/*.npy"] ({error})'
            ) from error
    python = sum(file.stat().st_size for file in code)
    sizes = {file: file.stat().st_size for file in beside.files}
    while python + (size := sum(sizes.values())) > most:
        if node is not None or not sizes:
            raise UsageError(
                f"{entry}: its files are {(python + size) / 2**20:.1f} MB, and {most >> 20} MB can "
                f"travel to an action; list fewer in {_LISTED}, or put the function into a folder "
                "of its own"
            )
        largest = max(sizes, key=sizes.__getitem__)
        beside.left_out[largest] = f"{sizes.pop(largest) / 2**20:.1f} MB"
    return Beside(frozenset(sizes), beside.left_out)


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    """The value of `name = …` in a module."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.value
    return None


def _texts_of(node: ast.expr) -> tuple[str, ...]:
    """The texts that a literal lists.

    Raises:
        ValueError: it is no literal, or of something else.
        TypeError: it is no list.
    """
    listed = ast.literal_eval(node)
    # A text alone would be read letter by letter.
    listed = (listed,) if isinstance(listed, str) else tuple(listed)
    if wrong := [item for item in listed if not isinstance(item, str)]:
        raise ValueError(f"{wrong[0]!r} is no text")
    return listed


def _requirements(entry: str, tree: ast.Module) -> tuple[str, ...]:
    from packaging.requirements import InvalidRequirement, Requirement

    if (node := _assigned(tree, "requirements")) is None:
        return ()
    try:
        return tuple(str(Requirement(text)) for text in _texts_of(node))
    except (ValueError, TypeError, InvalidRequirement) as error:
        raise UsageError(
            f"{entry}, line {node.lineno}: requirements must be a list of texts such as "
            f'["scikit-image>=0.22"] ({str(error).splitlines()[0]})'
        ) from error


def package_version(distribution: str) -> str:
    """The version of an installed package; empty where there is none of that name."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
