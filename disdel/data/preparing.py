"""Make a data set ready: as it is, or downloaded and prepared by TFDS."""

from __future__ import annotations

from pathlib import Path

from disdel.data import digits
from disdel.data.folders import find_prepared, publish, staging, version_folder
from disdel.data.loading import describe_dataset
from disdel.data.names import parse_name
from disdel.data.tfds.catalog import catalog_entry
from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Download
from disdel.errors import DatasetError
from disdel.types import DatasetSpec
from disdel.user_code.collecting import is_entry


def prepare_dataset(name: str, data_dir: Path) -> DatasetSpec:
    """Describe a data set, downloading it first if it is in the TFDS catalog and not yet here.

    A failed download leaves nothing behind. Files that TFDS wants placed by hand are looked for
    in `downloads/manual` of the data directory.

    Args:
        name: `name[/config][:version]`, or a function of the user's, which is called.
        data_dir: the folder of prepared data sets.

    Raises:
        DatasetError: the name is unknown, the data set cannot be downloaded, or it cannot be
            trained on (which is told before anything is downloaded).
    """
    if is_entry(name):
        return describe_dataset(name, data_dir)
    ref = parse_name(name)
    if ref.name == digits.SPEC.name or find_prepared(ref, data_dir) is not None:
        return describe_dataset(name, data_dir)
    entry = catalog_entry(ref)
    if entry is None:
        return describe_dataset(name, data_dir)  # raises, with the nearest names
    entry.sample_format()
    with staging(data_dir) as scratch:
        prepared = scratch / "prepared"
        try:
            run_tfds(
                Download(
                    data_dir=str(prepared),
                    manual_dir=str(data_dir / "downloads" / "manual"),
                    name=ref.name,
                    config=ref.config,
                    version=ref.version,
                ),
                scratch,
            )
        except DatasetError as error:
            raise DatasetError(
                f"{str(ref)!r} is in the TFDS catalog but not prepared in {data_dir} and could not "
                f"be downloaded ({error}). With the files at hand: disdel dataset import "
                f"{ref.name} PATH"
            ) from error
        publish(
            version_folder(prepared, ref.name, entry.config, entry.version),
            version_folder(data_dir, ref.name, entry.config, entry.version),
        )
    return describe_dataset(name, data_dir)
