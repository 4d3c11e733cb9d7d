"""Tell the format of a source from its file names, and read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from disdel.catalog.datasets.sources import csv_table, idx, image_folder, npz
from disdel.catalog.datasets.sources.files import Below, FileTree, Folder, open_tree
from disdel.catalog.datasets.sources.samples import Source, split_name
from disdel.errors import DatasetError

# Asked in this order; an archive of arrays may well lie beside a preview image.
_FORMATS: tuple[tuple[Callable[[FileTree], bool], Callable[[FileTree], Source]], ...] = (
    (npz.matches, npz.read),
    (idx.matches, idx.read),
    (csv_table.matches, csv_table.read),
    (image_folder.matches, image_folder.read),
)


def read_source(path: Path) -> Source:
    """Read a `.npz`, IDX files, CSV files or an image folder, also inside a `.zip`.

    Raises:
        DatasetError: nothing is there, the format is none of these, or the content is unusable.
    """
    with open_tree(path) as tree:
        if isinstance(tree, Folder) and path.is_file() and idx.is_idx(path.name):
            tree = Folder(path.parent, idx.pair_of(path))
        inner = _without_wrapper(tree)
        for matches, read in _FORMATS:
            if matches(inner):
                return read(inner)
        found = ", ".join(tree.names[:3]) + (", …" if len(tree.names) > 3 else "")
        raise DatasetError(
            f"{path} cannot be imported ({found or 'it is empty'}). Known are .npz with x_train "
            "and y_train; IDX files (train-images-idx3-ubyte …, also .gz); .csv with a label "
            "column; image folders [train/]CLASS/*.png or .jpg; and a .zip of any of these"
        )


def _without_wrapper(tree: FileTree) -> FileTree:
    """The tree below the one folder that holds everything, unless that is a split or a class."""
    tops = {name.split("/", 1)[0] for name in tree.names if "/" in name}
    loose = any("/" not in name for name in tree.names)
    if loose or len(tops) != 1:
        return tree
    [top] = tops
    if split_name(top) or image_folder.matches(tree, deepest=2):
        return tree
    return Below(tree, f"{top}/")
