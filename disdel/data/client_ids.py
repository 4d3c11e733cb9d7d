"""Whose each training sample is, where the table that was imported has a column that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.samples import natural_order
from disdel.errors import DatasetError
from disdel.types.assignment import ClientIds

_FILE = "disdel-clients.npz"


def write_client_ids(folder: Path, owners: Mapping[str, NDArray[np.str_]]) -> None:
    """Keep what columns tell in the folder of a prepared data set; nothing where there are none.

    Args:
        folder: where they are kept.
        owners: by column, whose each training sample is, (samples,).
    """
    if not owners:
        return
    kept: dict[str, NDArray[np.generic]] = {"columns": np.array(list(owners))}
    for number, ids in enumerate(owners.values()):
        values = natural_order(np.unique(ids))
        order = np.argsort(values)
        places = order[np.searchsorted(values, ids, sorter=order)]
        kept |= {f"values_{number}": values, f"codes_{number}": places.astype(np.int32)}
    np.savez_compressed(folder / _FILE, **kept)  # type: ignore[arg-type]  # allow_pickle is no array


def read_client_ids(folder: Path) -> dict[str, ClientIds]:
    """What columns tell, by their names; empty where none was kept.

    Raises:
        DatasetError: the file is damaged.
    """
    path = folder / _FILE
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {
                str(column): ClientIds(kept[f"values_{number}"], kept[f"codes_{number}"])
                for number, column in enumerate(kept["columns"])
            }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError(
            f"{path} is damaged ({error}): import the data set again, with --overwrite"
        ) from error
