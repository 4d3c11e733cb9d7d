"""Readers of the file formats that can be imported: NumPy archives, IDX, CSV and image folders."""

from disdel.catalog.datasets.sources.reading import read_source
from disdel.catalog.datasets.sources.samples import RawSplit, Source

__all__ = ["RawSplit", "Source", "read_source"]
