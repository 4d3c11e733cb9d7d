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
from disdel.types.words import a_kind, counted
from disdel.user_code.arrays import as_array
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
        name: module.guarded(partial(_arrays, content, f"{entry}, {name}", most, tell))
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


def _arrays(
    content: Any, where: str, most: int | None, tell: Tell
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples and targets of one split."""
    if isinstance(content, Mapping):
        raise DatasetError(f"{where} is a dict of {', '.join(map(repr, content))}; {_FORMS}")
    if _is_pair(content):
        _check_one_tensor(content, where)
        x, y = content
        return as_array(x, f"{where}: samples"), as_array(y, f"{where}: targets")
    if isinstance(content, tuple) and len(content) == 3:
        raise DatasetError(f"{where} is {_what(content)}; {_FORMS}")
    pairs = list(bounded(_pairs(content, where, tell), where, most))
    for pair in pairs or [None]:
        if not _is_pair(pair):
            raise DatasetError(f"{where} yields {_what(pair)} where pairs are needed; {_FORMS}")
        _check_one_tensor(pair, where)
    samples = [as_array(x, f"{where}: samples") for x, _ in pairs]
    targets = [as_array(y, f"{where}: targets") for _, y in pairs]
    if _yields_batches(content):
        return np.concatenate(samples), np.concatenate(targets)
    if len(shapes := {y.shape for y in targets}) > 1:
        raise DatasetError(
            f"{where}: targets vary in shape, as {' and '.join(map(str, sorted(shapes)[:2]))}; "
            "needed is one shape for all: cut or fill them"
        )
    return np.stack(samples), np.asarray(targets)


def _check_one_tensor(pair: Any, where: str) -> None:
    """Refuse samples, or targets, of several tensors.

    Raises:
        DatasetError: they are such.
    """
    for given, what in zip(pair, ("samples", "targets"), strict=True):
        several = isinstance(given, Mapping) or (
            # Lists of numbers are one tensor; several arrays of one shape would be taken for one.
            isinstance(given, tuple)
            and any(hasattr(part, "shape") and part.shape for part in given)
        )
        if several:
            kind, names = "a tuple", ""
            if isinstance(given, Mapping):
                kind, names = "a dict", f" ({', '.join(map(str, given))})"
            raise DatasetError(
                f"{where}: {what} are {kind} of {counted(len(given), 'tensor')}{names}, and a "
                "sample has one tensor and one target here: give the tensor itself, or join "
                "several with numpy.concatenate and take them apart in the model"
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


def _pairs(content: Any, where: str, tell: Tell) -> Iterable[Any]:
    """One pair a sample: of a tf.data.Dataset (unbatched), of a sequence, or of an iterable."""
    if hasattr(content, "as_numpy_iterator"):
        check_finite(content, where)
        if _is_batched(content, where, tell):
            content = content.unbatch()
        return content.as_numpy_iterator()  # type: ignore[no-any-return]  # TensorFlow has no types
    if hasattr(content, "__getitem__") and hasattr(content, "__len__"):
        return (content[position] for position in range(len(content)))
    if isinstance(content, Iterable):
        return content
    raise DatasetError(f"{where} is {a_kind(content)}; {_FORMS}")


def _is_batched(content: Any, where: str, tell: Tell) -> bool:
    """Whether a tf.data.Dataset of pairs gives batches of them."""
    spec = content.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2):
        return False
    x, y = (tuple(getattr(part, "shape", ())) for part in spec)
    if not x or not y or x[0] != y[0]:
        return False
    if x[0] is None:
        return True  # a size that is open is that of a last, smaller batch
    if (made := _made_batches(content)) is not None:
        return made
    # A generator's: axes of one size may be those of a batch, or of a sample and its target.
    batched = len(y) == 1 < len(x)
    if batched:
        tell(f"{where}: pairs of {x} and {y} are taken as batches of {y[0]} samples")
    return batched


def _made_batches(content: Any) -> bool | None:
    """Whether the last step of a tf.data.Dataset that says so makes batches; None if none does."""
    while True:
        kind = type(content).__name__.lower()
        if "unbatch" in kind or "slice" in kind:
            return False
        if "batch" in kind or kind == "_tensordataset":
            return True
        inputs: Any = content._inputs() if hasattr(content, "_inputs") else ()
        # What a function of the user's makes of an element may be another batch.
        if len(inputs) != 1 or "flatmap" in kind or "interleave" in kind:
            return None
        [content] = inputs
