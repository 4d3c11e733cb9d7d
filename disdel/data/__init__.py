"""Data sets by name: built in, prepared by TFDS, or imported from files.

A data set lives in a data directory in TFDS's own layout, `NAME/[CONFIG/]VERSION/`. Beside the
files that TFDS reads lies `disdel-arrays/`, the decoded samples as memory-mappable arrays, so
that TensorFlow is needed once per data set and not once per run. Where TensorFlow is needed, a
process of its own runs it: its memory and its messages end there.

Out of scope: data sets whose samples are not one array of a fixed shape with one target of such.
"""

from disdel.data.cache import DatasetArrays
from disdel.data.holdout import held_out_size, hold_out
from disdel.data.importing import import_dataset
from disdel.data.loading import DatasetRow, describe_dataset, list_datasets, load_arrays
from disdel.data.preparing import prepare_dataset
from disdel.data.scaling import scaling_of
from disdel.data.sources import ReadOptions, read_inputs_of, targets_alike
from disdel.data.sources.rounding import check_integers
from disdel.data.tfds.catalog import catalog_names

__all__ = [
    "DatasetArrays",
    "DatasetRow",
    "ReadOptions",
    "catalog_names",
    "check_integers",
    "describe_dataset",
    "held_out_size",
    "hold_out",
    "import_dataset",
    "list_datasets",
    "load_arrays",
    "prepare_dataset",
    "read_inputs_of",
    "scaling_of",
    "targets_alike",
]
