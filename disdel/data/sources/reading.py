"""Tell the format of a source from its file names, and read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from disdel.data.sources import csv_table, idx, image_folder, npz
from disdel.data.sources.files import Below, FileTree, Folder, open_tree
from disdel.data.sources.samples import RawSplit, Source, split_name
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions, SourceKind
from disdel.types.words import counted

# Asked in this order; an archive of arrays may well lie beside a preview image.
_FORMATS: tuple[
    tuple[SourceKind, Callable[[FileTree], bool], Callable[[FileTree, ReadOptions], Source]], ...
] = (
    ("arrays", npz.matches, npz.read),
    ("arrays", idx.matches, idx.read),
    ("tables", csv_table.matches, csv_table.read),
    ("image folders", image_folder.matches, image_folder.read),
)


_AS_GUESSED = ReadOptions()


def read_source(path: Path, options: ReadOptions = _AS_GUESSED) -> Source:
    """Read a `.npz`, IDX files, CSV files or an image folder, also inside a `.zip`.

    Raises:
        DatasetError: nothing is there, the format is none of these, or the content is unusable.
        UsageError: something is said that does not concern such a source.
    """
    with open_tree(path) as tree:
        if isinstance(tree, Folder) and path.is_file() and idx.is_idx(path.name):
            tree = Folder(path.parent, idx.pair_of(path))
        if tree.hidden:
            options.tell(
                f"{counted(len(tree.hidden), 'hidden file')} left out, as {tree.hidden[0]}"
            )
        inner = _without_wrapper(tree)
        for kind, matches, read in _FORMATS:
            if matches(inner):
                options.check_kind(kind, str(path))
                return read(inner, options)
        found = ", ".join(tree.names[:3]) + (", …" if len(tree.names) > 3 else "")
        raise DatasetError(
            f"{path} cannot be imported ({found or 'it is empty'}). Known are .npz with x_train "
            "and y_train; IDX files (train-images-idx3-ubyte …, also .gz); .csv with a label "
            f"column; image folders [train/]CLASS/*.png ({image_folder.FORMATS}); and a .zip of "
            "any of these"
        )


def read_inputs_of(path: Path, options: ReadOptions) -> RawSplit:
    """Read samples to predict, with their labels where these are known.

    Args:
        path: as for `read_source`, or an image, or images in folders of any depth.
        options: `like` is the data set as whose samples these are read.

    Raises:
        DatasetError: as `read_source`; or there are several splits and none for testing.
    """
    with open_tree(path) as tree:
        inner = _without_wrapper(tree)
        others = (npz.matches, idx.matches, csv_table.matches)
        if not any(matches(inner) for matches in others) and image_folder.has_images(tree):
            options.check_kind("image folders", str(path))
            return image_folder.read_inputs_of(tree, path, options)
    splits = read_source(path, options)
    for name in ("test", "train", "validation"):
        if name in splits:
            if len(splits) > 1:
                options.tell(f"of the splits in {path}, {name!r} is taken")
            return splits[name]
    raise AssertionError("a source has a split")


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
