"""Readers of the file formats that can be imported: NumPy archives, IDX, CSV and image folders."""

from disdel.data.sources.reading import read_inputs_of, read_source
from disdel.data.sources.samples import RawSplit, Source, targets_alike
from disdel.settings.read_options import ReadOptions

__all__ = ["RawSplit", "ReadOptions", "Source", "read_inputs_of", "read_source", "targets_alike"]
