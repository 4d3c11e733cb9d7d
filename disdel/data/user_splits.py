"""What a user's function may return as a data set, brought into the forms of an import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.bounds import bounded, check_finite, most_samples
from disdel.data.sources.labels import plain
from disdel.data.sources.samples import LabelledSplits, RawSplit, labelled, raw_split, split_name
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions, Tell, tell_nobody
from disdel.types.words import a_kind
from disdel.user_code.module import UserModule

_FORMS = (
    'needed is (x, y), or ((x_train, y_train), (x_test, y_test)), or {"train": …, "validation": …, '
    '"test": …}, of which "train" alone will do; each '
    "split may also be a tf.data.Dataset, a PyTorch Dataset or DataLoader, or another iterable of "
    "pairs (sample, target)"
)


def returned_splits(module: UserModule, entry: str, tell: Tell = tell_nobody) -> LabelledSplits:
    """Call the function and read what it returns.

    Targets of a floating type are numbers to predict; others are classes. What is changed is told.

    Raises:
        UsageError: the function failed, or what it returns is no data set.
    """
    returned: Any = module.call()
    most = most_samples(module)
    contents = {
        name: module.guarded(partial(_arrays, content, f"{entry}, {name}", most))
        for name, content in _by_split(returned, entry).items()
    }
    targets = {name: plain(y, f"{entry}, {name}: targets") for name, (_, y) in contents.items()}
    numbers = any(y.dtype.kind == "f" for y in targets.values())
    options = ReadOptions(targets="numbers" if numbers else "classes", from_code=True, tell=tell)
    splits: dict[str, RawSplit] = {}
    # The training split says what the others have to be.
    for name in sorted(contents, key=lambda name: name != "train"):
        where = f"{entry}, {name}"
        first = splits.get("train")
        splits[name] = raw_split(contents[name][0], targets[name], where, options, first=first)
    return labelled(splits, entry, options)


def _by_split(returned: Any, entry: str) -> dict[str, Any]:
    if isinstance(returned, Mapping):
        names = {key: split_name(str(key)) for key in returned}
        if unknown := [key for key, name in names.items() if name is None]:
            raise DatasetError(f"{entry} returned a split {unknown[0]!r}; {_FORMS}")
        return {str(names[key]): content for key, content in returned.items()}
    if _is_pair(returned) and all(map(_is_split, returned)):
        return {"train": returned[0], "test": returned[1]}
    return {"train": returned}


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _is_split(value: object) -> bool:
    """Whether it has samples and targets, and is not an array of one of them."""
    return _is_pair(value) or not (hasattr(value, "__array__") or isinstance(value, tuple | list))


def _arrays(content: Any, where: str, most: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples and targets of one split."""
    if _is_pair(content):
        return np.asarray(content[0]), np.asarray(content[1])
    if isinstance(content, tuple) and len(content) == 3:
        raise DatasetError(f"{where} is {_what(content)}; {_FORMS}")
    pairs = list(bounded(_pairs(content, where), where, most))
    for pair in pairs or [None]:
        if not _is_pair(pair):
            raise DatasetError(f"{where} yields {_what(pair)} where pairs are needed; {_FORMS}")
    if _yields_batches(content):
        return np.concatenate([np.asarray(x) for x, _ in pairs]), np.concatenate(
            [np.asarray(y) for _, y in pairs]
        )
    return np.stack([np.asarray(x) for x, _ in pairs]), np.asarray(
        [np.asarray(y) for _, y in pairs]
    )


def _what(given: object) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, tuple | list) and len(given) == 3:
        return "three values (weights of samples are not learnt by)"
    return type(given).__name__


def _yields_batches(content: Any) -> bool:
    """Whether it is a PyTorch `DataLoader` that makes batches: (samples, targets) of several."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(content).__mro__}
    is_loader = "torch.utils.data.dataloader.DataLoader" in kinds
    return is_loader and content.batch_sampler is not None


def _pairs(content: Any, where: str) -> Iterable[Any]:
    """One pair a sample: of a tf.data.Dataset (unbatched), of a sequence, or of an iterable."""
    if hasattr(content, "as_numpy_iterator"):
        check_finite(content, where)
        spec = content.element_spec
        # A target is one number, so one with an axis is a batch of them.
        if isinstance(spec, tuple) and len(spec) == 2 and len(spec[1].shape) == 1:
            content = content.unbatch()
        return content.as_numpy_iterator()  # type: ignore[no-any-return]  # TensorFlow has no types
    if hasattr(content, "__getitem__") and hasattr(content, "__len__"):
        return (content[position] for position in range(len(content)))
    if isinstance(content, Iterable):
        return content
    raise DatasetError(f"{where} is {a_kind(content)}; {_FORMS}")
