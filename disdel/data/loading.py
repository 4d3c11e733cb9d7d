"""Describe, list and load the data sets at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from disdel.data import cache, digits
from disdel.data.cache import DatasetArrays
from disdel.data.folders import (
    PreparedFolder,
    all_prepared,
    find_prepared,
    publish,
    staging,
    version_folder,
)
from disdel.data.names import DatasetRef, parse_name, unknown_name
from disdel.data.tfds.catalog import catalog_names, prepared_spec
from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Decode
from disdel.data.user_data import load_user_arrays
from disdel.errors import DatasetError
from disdel.types import DatasetSpec
from disdel.user_code.collecting import is_entry

State = Literal["built in", "prepared", "imported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRow:
    """One line of `disdel dataset list`.

    `problem` says why a prepared data set cannot be trained on; `spec` is then None.
    """

    name: str
    version: str
    state: State
    spec: DatasetSpec | None
    problem: str = ""


def describe_dataset(name: str, data_dir: Path) -> DatasetSpec:
    """What is known of a data set, without reading its samples.

    Args:
        name: `name[/config][:version]`, or a function of the user's, which is called.
        data_dir: the folder of prepared data sets.

    Raises:
        DatasetError: the name is unknown, nothing is prepared under it, or it cannot be trained on.
    """
    if is_entry(name):
        return load_user_arrays(name, data_dir).spec
    ref = parse_name(name)
    if _is_built_in(ref):
        return digits.SPEC
    return _describe(_find(ref, data_dir))


def load_arrays(name: str, data_dir: Path) -> DatasetArrays:
    """The samples of a data set; decoded by the first call, memory-mapped by all others.

    Args:
        name: `name[/config][:version]`, or a function of the user's.
        data_dir: the folder of prepared data sets.

    Raises:
        DatasetError: as `describe_dataset`, or the samples cannot be read, or the decoded ones
            not written beside them.
    """
    if is_entry(name):
        return load_user_arrays(name, data_dir)
    ref = parse_name(name)
    if _is_built_in(ref):
        spec = digits.SPEC
        version_dir, source = version_folder(data_dir, spec.name, None, spec.version), None
    else:
        folder = _find(ref, data_dir)
        version_dir, source = folder.path, folder.info_path
    cached = cache.open_arrays(version_dir, source)
    if cached is not None:
        return cached
    # Beside the version where that exists: a data set's folder may be a link to another disk.
    with staging(version_dir.parent if source else data_dir) as scratch:
        splits = scratch / "splits"
        splits.mkdir()
        if source is None:
            digits.write_splits(splits)
        else:
            spec = prepared_spec(folder)
            run_tfds(Decode(version_dir=str(version_dir), splits_dir=str(splits)), scratch)
        cache.build(splits, scratch / cache.FOLDER, spec, source)
        # Another process may have been faster; whoever has its files open keeps them.
        if cache.open_arrays(version_dir, source) is None:
            publish(scratch / cache.FOLDER, version_dir / cache.FOLDER)
    arrays = cache.open_arrays(version_dir, source)
    if arrays is None:
        raise DatasetError(
            f"the decoded samples in {version_dir / cache.FOLDER} cannot be read back"
        )
    return arrays


def list_datasets(data_dir: Path) -> tuple[DatasetRow, ...]:
    """The data sets that can be used at once: built in, prepared and imported ones, by name."""
    rows = [
        DatasetRow(
            name=digits.SPEC.name, version=digits.SPEC.version, state="built in", spec=digits.SPEC
        )
    ]
    rows += [_row(folder) for folder in all_prepared(data_dir)]
    return tuple(sorted(rows, key=lambda row: row.name))


def _row(folder: PreparedFolder) -> DatasetRow:
    spec, problem = None, ""
    try:
        spec = _describe(folder)
    except DatasetError as error:
        problem = str(error)
    return DatasetRow(
        name=folder.full_name,
        version=folder.version,
        state="imported" if folder.import_record else "prepared",
        spec=spec,
        problem=problem,
    )


def _is_built_in(ref: DatasetRef) -> bool:
    return (
        ref.name == digits.SPEC.name
        and not ref.config
        and ref.version in (None, digits.SPEC.version)
    )


def _describe(folder: PreparedFolder) -> DatasetSpec:
    return cache.read_spec(folder.path, folder.info_path) or prepared_spec(folder)


def _find(ref: DatasetRef, data_dir: Path) -> PreparedFolder:
    folder = find_prepared(ref, data_dir)
    if folder is not None:
        return folder
    names = catalog_names()
    if ref.name in names:
        raise DatasetError(
            f"{str(ref)!r} is in the TFDS catalog but not prepared in {data_dir}. With the files "
            f"at hand: disdel dataset import {ref.name} PATH"
        )
    prepared = (row.name for row in all_prepared(data_dir))
    raise unknown_name(ref, (*names, digits.SPEC.name, *prepared))
