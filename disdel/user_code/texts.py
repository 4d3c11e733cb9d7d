"""What the texts in Python code name: files beside it, which it is then likely to open."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Of one file or folder, unless the code asks for it itself.
_MOST_EACH_BYTES = 4 << 20
_MOST_FILES = 1000
# What stands for something else in "%s.txt", "{}.txt" and "{name:02}.txt".
_PLACEHOLDER = re.compile(r"%\(?[\w.]*\)?[sdr]|\{[^{}/]*\}")


@dataclass(frozen=True, slots=True)
class Beside:
    """Files beside some code.

    Attributes:
        files: those to take along.
        left_out: what it names and what is too large, with how large that is, for people.
    """

    files: frozenset[Path]
    left_out: dict[Path, str]


def texts(tree: ast.AST) -> set[str]:
    """The texts in the code."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _patterns(tree: ast.AST) -> set[str]:
    """The texts in the code as patterns of file names, those that are put together too."""
    found = {_PLACEHOLDER.sub("*", text) for text in texts(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
            found.add("".join(map(str, parts)))
    return {text for text in found if 0 < len(text) < 200 and "\n" not in text}


def files_named(code: Mapping[Path, ast.AST], root: Path) -> Beside:
    """The files below `root` that the code names, from there or from its own folder.

    A name of a folder is one of all files in it. Hidden files, virtual environments and bytecode
    are none, and what is large is more likely a data set.

    Args:
        code: each file with its syntax tree.
        root: an absolute path.
    """
    files: set[Path] = set()
    left_out: dict[Path, str] = {}
    names = {Path(text).name for tree in code.values() for text in texts(tree) if "\0" not in text}
    for source, tree in code.items():
        for pattern in _patterns(tree):
            for path in {*_matches(root, pattern), *_matches(source.parent, pattern)}:
                if path == root or not path.is_relative_to(root) or not _visible(path, root):
                    continue
                below = _files(path, root)
                if (size := _too_large(below)) is None:
                    files.update(below)
                else:
                    left_out[path] = size
                    if path.is_dir():
                        files.update(_small(file for file in below if file.name in names))
    return Beside(frozenset(files - code.keys()), left_out)


def files_listed(patterns: Iterable[str], root: Path) -> frozenset[Path]:
    """The files that patterns below `root` name; everything in a folder that one names.

    Raises:
        ValueError: one leads out of `root`, or names nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise ValueError(f"{pattern!r} leads out of the folder of the code")
        files = {file for path in _matches(root, pattern) for file in _files(path, root, most=None)}
        if not files:
            raise ValueError(f"{pattern!r} names no file in {root}")
        found |= files
    return frozenset(found)


def _matches(folder: Path, pattern: str) -> list[Path]:
    pattern = pattern.removeprefix("./").rstrip("/")
    # A pattern of stars alone asks for whatever there is.
    if not pattern.strip("*./"):
        return []
    try:
        if Path(pattern).is_absolute():
            path = Path(pattern)
            return [path] if path.exists() else []
        if ".." in Path(pattern).parts:
            return []
        return list(folder.glob(pattern))
    except (ValueError, OSError, NotImplementedError, IndexError, re.error):
        return []


def _files(path: Path, root: Path, most: int | None = _MOST_FILES) -> list[Path]:
    """The file, or the files in the folder; one more than `most` where there are more."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    found: list[Path] = []
    for file in path.rglob("*"):
        if file.is_file() and _visible(file, root):
            found.append(file)
            if most is not None and len(found) > most:
                break
    return sorted(found)


def _visible(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        return False
    folders = (root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))
    return not any((folder / "pyvenv.cfg").exists() for folder in folders)


def _too_large(files: Collection[Path]) -> str | None:
    if len(files) > _MOST_FILES:
        return f"more than {_MOST_FILES:,} files"
    size = sum(file.stat().st_size for file in files)
    return f"{size / 2**20:.1f} MB" if size > _MOST_EACH_BYTES else None


def _small(files: Iterable[Path]) -> Iterator[Path]:
    return (file for file in files if file.stat().st_size <= _MOST_EACH_BYTES)
