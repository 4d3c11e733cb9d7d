"""Where prepared data sets lie in a data directory: `NAME/[CONFIG/]VERSION/`, as in TFDS."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dacite

from disdel.data.names import DatasetRef
from disdel.errors import DatasetError
from disdel.types import FeatureSpec, Reading, TargetSpec
from openwhisk_local.machine.scratch import Scratch, sweep

_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_INFO = "dataset_info.json"
_IMPORT = "disdel-import.json"
_STAGING = ".disdel-"


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """What an import leaves beside the data.

    Attributes:
        source: the source's file name.
        held_out: whether the import cut the test split.
        reading: how the samples were read.
        features: the tensors of a sample, and
        targets: those that are learnt of it; none where the import was before these were noted.
    """

    source: str
    held_out: bool
    reading: Reading = field(default_factory=Reading)
    features: tuple[FeatureSpec, ...] = ()
    targets: tuple[TargetSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedFolder:
    """One prepared version of a data set."""

    name: str
    config: str | None
    version: str
    path: Path

    @property
    def full_name(self) -> str:
        return f"{self.name}/{self.config}" if self.config else self.name

    @property
    def info_path(self) -> Path:
        return self.path / _INFO

    @property
    def import_record(self) -> ImportRecord | None:
        """None when TFDS prepared the data set itself.

        Raises:
            DatasetError: it is damaged.
        """
        try:
            raw = json.loads((self.path / _IMPORT).read_bytes())
            return dacite.from_dict(ImportRecord, raw, dacite.Config(cast=[tuple]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError, dacite.DaciteError) as error:
            raise DatasetError(
                f"{self.path / _IMPORT} is damaged: import {self.full_name!r} again, with "
                "--overwrite"
            ) from error


def write_import_record(folder: Path, record: ImportRecord) -> None:
    (folder / _IMPORT).write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")


def version_folder(data_dir: Path, name: str, config: str | None, version: str) -> Path:
    return data_dir / name / config / version if config else data_dir / name / version


def all_prepared(data_dir: Path) -> list[PreparedFolder]:
    """The newest prepared version of every data set and configuration, by name."""
    return [
        folder
        for name in _subfolders(data_dir)
        for config in (None, *_configs(data_dir / name))
        if (folder := _newest(data_dir, DatasetRef(name, config))) is not None
    ]


def find_prepared(ref: DatasetRef, data_dir: Path) -> PreparedFolder | None:
    """The prepared folder that `ref` means, or None.

    Without a version the newest; without a configuration the default that TFDS recorded, else
    the only one there is.

    Raises:
        DatasetError: several configurations are prepared and none is the default.
    """
    found = _newest(data_dir, ref)
    if found is not None or ref.config is not None:
        return found
    folders = {
        config: folder
        for config in _configs(data_dir / ref.name)
        if (folder := _newest(data_dir, DatasetRef(ref.name, config, ref.version))) is not None
    }
    if len(folders) <= 1:
        return next(iter(folders.values()), None)
    default = _default_config(data_dir / ref.name)
    if default not in folders:
        choices = ", ".join(f"{ref.name}/{config}" for config in folders)
        raise DatasetError(
            f"{ref.name!r} is prepared in several configurations; name one: {choices}"
        )
    return folders[default]


@contextmanager
def staging(data_dir: Path) -> Iterator[Path]:
    """A folder for work in progress, in the same file system so that results can be renamed in.

    Args:
        data_dir: the data directory or a folder in it; made if need be.

    Raises:
        DatasetError: the folder cannot be made or written to, also while the caller fills it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Of commands that were killed.
        sweep(_STAGING, data_dir)
        with Scratch(_STAGING, data_dir) as temporary:
            yield temporary
    except OSError as error:
        raise DatasetError(
            f"cannot write in {data_dir} ({error.strerror or error}); "
            "choose another data directory with --data-dir"
        ) from error


def publish(staged: Path, final: Path, *, overwrite: bool = True) -> None:
    """Put a finished folder in its place; readers see old or new.

    Both lie in the same file system. What was there is moved beside `staged` and left for its
    cleaner.

    Raises:
        DatasetError: something is there and is not to be replaced.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    replaced = 0
    while True:
        try:
            staged.rename(final)
        except OSError:
            if not final.exists():
                raise
        else:
            return
        if not overwrite:
            raise DatasetError(
                f"{final} was prepared by another command in the meantime, and stays as it is: "
                "import under another name, or replace it with --overwrite"
            )
        try:
            final.rename(staged.with_name(f"{staged.name}.replaced{replaced}"))
        except FileNotFoundError:  # another process moved it first
            continue
        replaced += 1


def _newest(data_dir: Path, ref: DatasetRef) -> PreparedFolder | None:
    parent = data_dir / ref.name / ref.config if ref.config else data_dir / ref.name
    versions = [
        version
        for version in _subfolders(parent)
        if _VERSION.fullmatch(version)
        and ref.version in (None, version)
        and (parent / version / _INFO).is_file()
    ]
    if not versions:
        return None
    newest = max(versions, key=lambda version: tuple(map(int, version.split("."))))
    return PreparedFolder(ref.name, ref.config, newest, parent / newest)


def _configs(folder: Path) -> list[str]:
    return [name for name in _subfolders(folder) if not _VERSION.fullmatch(name)]


def _default_config(folder: Path) -> str | None:
    try:
        raw = json.loads((folder / ".config" / "metadata.json").read_bytes())
        return str(raw.get("default_config_name"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # A configuration is then to be named.


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
