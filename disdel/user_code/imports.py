"""Imports of the user's own modules: compiled from what lies there now, one project at a time.

Python's bytecode cache goes by the size and the second of a file, and an imported module stays:
code that was edited within a second, or in a notebook, would run as it was.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import PathEntryFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType


class _FromSource(SourceFileLoader):
    """Neither reads nor writes bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


# The folders that user code was imported from in this process.
_folders: set[str] = set()
_finder_of = FileFinder.path_hook(
    (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES)
)


def _hook(path: str) -> PathEntryFinder:
    """The finder of a user's folder and the packages below it; not of a library that lies there."""
    within = (str(parent) for parent in (Path(path), *Path(path).parents))
    roots = {*sys.path, *_folders}
    if next((parent for parent in within if parent in roots), None) not in _folders:
        raise ImportError(f"{path} does not belong to user code", path=path)
    return _finder_of(path)


class UserImports:
    """The modules that the user's code in `folder` consists of, while it runs in this process.

    Args:
        folder: an absolute path, resolved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, ModuleType] = {}
        self._names = {entry.stem for entry in folder.iterdir()}
        self._entered = False
        if _hook not in sys.path_hooks:
            sys.path_hooks.insert(0, _hook)
        _folders.add(str(folder))
        for path in list(sys.path_importer_cache):
            if Path(path).is_relative_to(folder):
                del sys.path_importer_cache[path]
        importlib.invalidate_caches()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """What the block imports comes from the folder first, and from no other user's folder.

        The modules stay afterwards, for what the code imports later and for looking up classes of
        saved models; only those of the same name that others had imported come back.
        """
        if self._entered:
            yield
            return
        self._entered = True
        others = self._put_aside()
        sys.modules.update(self.modules)
        sys.path[:] = [str(self.folder), *(path for path in sys.path if path not in _folders)]
        try:
            yield
        finally:
            # A copy: other threads import meanwhile.
            self.modules = {name: m for name, m in [*sys.modules.items()] if _is_users(m)}
            sys.modules.update(others)
            self._entered = False

    def load(self, name: str, file: Path) -> ModuleType:
        """Import a file as the module `name`, which need not be the file's.

        Raises:
            Exception: whatever the file raises.
        """
        spec = spec_from_file_location(name, file, loader=_FromSource(name, str(file)))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        # Where classes of the module are looked up when a saved model that has them is loaded.
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _put_aside(self) -> dict[str, ModuleType]:
        """Take out of `sys.modules` what would hide this folder's; what has to come back."""
        aside = {}
        for name, module in list(sys.modules.items()):
            if _is_users(module):
                del sys.modules[name]
            elif name.partition(".")[0] in self._names and _is_replaceable(module):
                aside[name] = sys.modules.pop(name)
        return aside


def _is_users(module: ModuleType | None) -> bool:
    return isinstance(getattr(getattr(module, "__spec__", None), "loader", None), _FromSource)


def _is_replaceable(module: ModuleType | None) -> bool:
    """Whether it is some other script's module: neither a library's, nor Python's, nor disdel's."""
    file = getattr(module, "__file__", None)
    if file is None or getattr(module, "__name__", "").partition(".")[0] == "disdel":
        return False
    libraries = {
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    return not any(Path(file).is_relative_to(folder) for folder in libraries)
