"""Turn files into a prepared data set that `tfds.load` reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from disdel.data import cache, digits
from disdel.data.client_ids import write_client_ids
from disdel.data.filling import filled
from disdel.data.folders import (
    ImportRecord,
    PreparedFolder,
    find_prepared,
    publish,
    staging,
    version_folder,
    write_import_record,
)
from disdel.data.holdout import hold_out
from disdel.data.names import DatasetRef, check_new_name, parse_name
from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.arrays import as_floats
from disdel.data.sources.labels import sizes
from disdel.data.sources.samples import LabelledSplits, labelled
from disdel.data.tfds.catalog import CatalogEntry, catalog_entry, import_tfds, prepared_spec
from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Write
from disdel.errors import DatasetError
from disdel.types import DatasetSpec

_NEW_VERSION = "1.0.0"
_AS_GUESSED = ReadOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The data set that an import makes; `entry` is None for a name of the user's own."""

    ref: DatasetRef
    version: str
    entry: CatalogEntry | None

    def folder(self, data_dir: Path) -> PreparedFolder:
        path = version_folder(data_dir, self.ref.name, self.ref.config, self.version)
        return PreparedFolder(self.ref.name, self.ref.config, self.version, path)


def import_dataset(
    name: str,
    path: Path,
    data_dir: Path,
    *,
    overwrite: bool = False,
    options: ReadOptions = _AS_GUESSED,
) -> DatasetSpec:
    """Import `path` as the data set `name`.

    Splits are kept. Under a name of the TFDS catalog the data set is written as the catalog has
    it, which the files must agree with: shape, classes, version. Under any other name it has an
    "image" or "features" and a "label" (or, where labels have fractions, a number "target"), and a
    test split is held out where the source has none.

    Args:
        name: a new name, or one of the catalog's (with `/config` where it has configurations).
        path: a `.npz`, IDX files, CSV files or an image folder, also inside a `.zip`.
        data_dir: the folder of prepared data sets.
        overwrite: replace what is already prepared under that name.
        options: how the files are read, and where what was guessed is told.

    Raises:
        DatasetError: the name cannot be used or is taken, or the files cannot be imported.
    """
    target = _target(name)
    final = target.folder(data_dir)
    if not overwrite and find_prepared(replace(target.ref, version=target.version), data_dir):
        raise DatasetError(
            f"{final.full_name!r} is already prepared in {final.path}; import it under another "
            "name, or replace it with --overwrite"
        )
    if options.by and target.entry is not None:
        raise DatasetError(
            f"{name!r} in the TFDS catalog has no columns that tell whose a row is: import with "
            f"--by under another name, such as my_{target.entry.name}"
        )
    source = read_source(path, options)
    if target.entry is not None:
        # The catalog says whether they are classes.
        options = replace(options, targets=options.targets or "classes")
    content = labelled(source, str(path), options)
    held_out = False
    if target.entry is not None:
        content = _as_in_catalog(content, target.entry, path, options)
    elif "test" not in content.splits:
        content, held_out = _with_test_split(content), True
    if options.missing == "mean":
        content = filled(content, str(path), options.tell)
    with staging(data_dir) as scratch:
        splits = scratch / "splits"
        splits.mkdir()
        for split, samples in content.splits.items():
            np.save(splits / f"{split}_x.npy", samples.x)
            np.save(splits / f"{split}_y.npy", content.labels[split])
        run_tfds(
            Write(
                splits_dir=str(splits),
                data_dir=str(scratch / "prepared"),
                name=target.ref.name,
                config=target.ref.config,
                version=target.version,
                catalog=target.entry is not None,
                class_names=list(content.class_names),
                classes=content.classes,
                description=f"Imported from {path.name}.",
            ),
            scratch,
        )
        staged = target.folder(scratch / "prepared")
        write_client_ids(staged.path, content.splits["train"].owners)
        # Of its own data sets, the catalog says what samples and labels are, and their names.
        own = target.entry is None
        write_import_record(
            staged.path,
            ImportRecord(
                source=path.name,
                held_out=held_out,
                reading=content.reading,
                features=(content.feature,) if own else (),
                targets=(content.target,) if own else (),
            ),
        )
        spec = prepared_spec(staged)
        spec = cache.build(splits, staged.path / cache.FOLDER, spec, staged.info_path)
        publish(staged.path, final.path, overwrite=overwrite)
    return spec


def _target(name: str) -> _Target:
    ref = parse_name(name)
    if ref.name == digits.SPEC.name:
        raise DatasetError(f"{ref.name!r} is built in; import the files under another name")
    if ref.version is not None:
        raise DatasetError(f"{name!r}: an import has no choice of version; leave it out")
    import_tfds()
    entry = catalog_entry(ref)
    if entry is not None:
        return _Target(ref=replace(ref, config=entry.config), version=entry.version, entry=entry)
    check_new_name(ref.name)
    if ref.config is not None:
        raise DatasetError(f"{name!r}: only data sets of the TFDS catalog have configurations")
    return _Target(ref=ref, version=_NEW_VERSION, entry=None)


def _in_dtype(
    content: LabelledSplits, dtype: str, path: Path, options: ReadOptions
) -> LabelledSplits:
    """`content` with its integers as the catalog has them: wider, or as float32.

    Raises:
        DatasetError: different ones become the same.
    """
    found = content.splits["train"].x.dtype
    if found.kind != "i" or dtype not in ("int64", "float32"):
        return content
    splits = {
        name: replace(
            split,
            x=split.x.astype(np.int64)
            if dtype == "int64"
            else as_floats(split.x, f"{path}, {name}", options),
        )
        for name, split in content.splits.items()
    }
    return replace(content, splits=splits)


def _as_in_catalog(
    content: LabelledSplits, entry: CatalogEntry, path: Path, options: ReadOptions
) -> LabelledSplits:
    """`content` with the catalog's dtype and class numbers.

    Raises:
        DatasetError: the catalog's data set of that name is a different one.
    """
    elsewhere = f"import it under another name, such as my_{entry.name}"
    try:
        form = entry.sample_format()
    except DatasetError as error:
        raise DatasetError(f"{error}. That name is the TFDS catalog's; {elsewhere}") from error
    if form.other_keys:
        raise DatasetError(
            f"{entry.name!r} in the TFDS catalog also has {', '.join(form.other_keys)}, which "
            f"{path} does not; {elsewhere}"
        )
    content = _in_dtype(content, form.dtype, path, options)
    x = content.splits["train"].x
    if x.shape[1:] != form.shape or x.dtype != np.dtype(form.dtype):
        raise DatasetError(
            f"{entry.name!r} in the TFDS catalog has samples of shape {form.shape} {form.dtype}, "
            f"and {path} has {x.shape[1:]} {x.dtype}; {elsewhere}"
        )
    if bool(content.classes) != bool(form.class_names):
        kinds = ("numbers to predict", "classes")
        raise DatasetError(
            f"{entry.name!r} in the TFDS catalog has {kinds[bool(form.class_names)]}, and {path} "
            f"has {kinds[bool(content.classes)]}; {elsewhere}"
        )
    if content.target.shape:
        raise DatasetError(
            f"{entry.name!r} in the TFDS catalog has one label a sample, and {path} has "
            f"{sizes(content.target.shape)}; {elsewhere}"
        )
    if not content.classes:
        return content
    labels = {
        name: split.labels for name, split in content.splits.items() if split.labels is not None
    }
    if labels["train"].dtype.kind != "U":
        values = np.concatenate(list(labels.values()))
        if values.min() < 0 or values.max() >= len(form.class_names):
            raise DatasetError(
                f"{entry.name!r} in the TFDS catalog has classes 0 to {len(form.class_names) - 1}, "
                f"and {path} has labels from {values.min()} to {values.max()}; {elsewhere}"
            )
        numbers = {name: part.astype(np.int32) for name, part in labels.items()}
        return replace(content, labels=numbers, classes=len(form.class_names), class_names=())
    names = content.class_names or tuple(map(str, range(content.classes)))
    if set(names) <= set(form.class_names):
        in_catalog = np.array([form.class_names.index(name) for name in names], dtype=np.int32)
        numbers = {name: in_catalog[part] for name, part in content.labels.items()}
        return replace(content, labels=numbers, classes=len(form.class_names), class_names=())
    if not form.named and content.classes == len(form.class_names):
        return content  # the catalog learns its class names with the data
    raise DatasetError(
        f"the classes of {path} are {_some(names)}, and those of {entry.name!r} in the TFDS "
        f"catalog are {_some(form.class_names)}; {elsewhere}"
    )


def _with_test_split(content: LabelledSplits) -> LabelledSplits:
    train, labels = content.splits["train"], content.labels["train"]
    assert train.labels is not None  # it could not be labelled
    parts = dict(zip(("train", "test"), hold_out(labels), strict=True))
    cut = {
        name: replace(
            train,
            x=train.x[positions],
            labels=train.labels[positions],
            owners={column: ids[positions] for column, ids in train.owners.items()},
        )
        for name, positions in parts.items()
    }
    cut_labels = {name: labels[positions] for name, positions in parts.items()}
    return replace(
        content, splits={**content.splits, **cut}, labels={**content.labels, **cut_labels}
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
