"""The samples of clients that a function of the user's loads where the action runs.

They go from there to the trainer, and nowhere else: neither the store nor the controller sees any.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from disdel.errors import UsageError
from disdel.types.arrays import Array
from disdel.types.specs import FeatureSpec, ModelSpec, TargetSpec
from disdel.user_code.arrays import as_array
from disdel.user_code.collecting import DATA_FOLDER, read_code
from disdel.user_code.module import UserModule
from disdel.worker.shards import Samples

OwnSplit = Literal["train", "test"]
# By which a file allows the labels of its clients to be counted.
_SHARES = "shares_labels"
# Where a bundle has the function's files: beside the package `disdel`.
_BUNDLED = Path(__file__).parents[2] / DATA_FOLDER


class OwnData:
    """The last client's samples by split; the next one's are loaded once those are let go.

    Args:
        folder: where the function's files lie.
    """

    def __init__(self, folder: Path = _BUNDLED) -> None:
        self._folder = folder
        self._module: UserModule | None = None
        self._held: dict[OwnSplit, tuple[int, Samples]] = {}

    def get(
        self, client: int, count: int | None, model: ModelSpec, split: OwnSplit = "train"
    ) -> Samples:
        """The samples of a client, of which there are `count` if it has said so before.

        Raises:
            UsageError: the function failed, or what it returned does not suit the network.
        """
        if self._held.get(split, (None,))[0] != client:
            self._held.pop(split, None)
            self._held[split] = client, self._load(client, count, model, split)
        return self._held[split][1]

    def labels(self, y: Array, classes: int) -> tuple[int, ...]:
        """How many targets are of each class; empty where the code does not allow that to be told.

        Args:
            y: a client's targets, (samples,) int32, as `get` returns them.
            classes: how many there are.
        """
        if self._module is None or self._module.attribute(_SHARES) is not True:
            return ()
        return tuple(np.bincount(y, minlength=classes).tolist())

    def _load(self, client: int, count: int | None, model: ModelSpec, split: OwnSplit) -> Samples:
        if self._module is None:
            code = read_code(self._folder)
            if code is None:
                raise UsageError("the code that loads clients' samples is not in this action")
            # Its relative paths are of files beside it.
            os.chdir(self._folder)
            self._module = UserModule(code.ref, self._folder)
        module = self._module
        if split == "test" and not module.takes("split"):
            raise UsageError(
                f"{module.code.entry} takes no split, so that it can only load what clients train "
                "on: give it a parameter `split`, and return other samples for 'test'"
            )
        loaded = module.call(client=client, split=split)
        where = f"{module.code.entry} of client {client}{' for test' if split == 'test' else ''}"
        return module.guarded(lambda: _samples(loaded, count, model, where))


def _samples(loaded: object, count: int | None, model: ModelSpec, where: str) -> Samples:
    if not (isinstance(loaded, tuple | list) and len(loaded) == 2):
        of = f" of {len(loaded)}" if isinstance(loaded, tuple | list) else ""
        raise UsageError(f"{where} returned a {type(loaded).__name__}{of}; needed is (x, y)")
    try:
        x = as_array(loaded[0], f"{where}: samples")
        y = as_array(loaded[1], f"{where}: targets")
    except ValueError as error:
        raise UsageError(f"{where} returned lists that are no arrays: {error}") from error
    if x.ndim == 0 or y.ndim == 0:
        kinds = " and a ".join(type(one).__name__ for one in loaded)
        raise UsageError(f"{where} returned a {kinds}; needed are two arrays, x and y")
    if len(x) != len(y):
        raise UsageError(f"{where} returned x of shape {x.shape} and y of shape {y.shape}")
    if not len(x):
        raise UsageError(f"{where} returned no samples")
    if count is not None and len(x) != count:
        raise UsageError(
            f"{where} returned {len(x)} samples, and {count} by what was said before (by counts(), "
            "or when it was first asked): they must stay the same while a run lasts"
        )
    return Samples(_fitted(x, model.features[0], where), _targets(y, model.targets[0], where))


def _fitted(x: Array, feature: FeatureSpec, where: str) -> Array:
    """Samples in the dtype of the data set."""
    if x.shape[1:] != feature.shape:
        raise UsageError(f"{where}: a sample is of shape {x.shape[1:]}, not {feature.shape}")
    if feature.dtype == "float32":
        return _finite(x, f"{where}: samples")
    bounds = np.iinfo(feature.dtype)
    if x.dtype.kind not in "iub":
        raise UsageError(
            f"{where}: samples are {x.dtype}, and the data set has {feature.dtype}: return whole "
            f"numbers from {bounds.min} to {bounds.max}, as it has them"
        )
    if x.size and not bounds.min <= x.min() <= x.max() <= bounds.max:
        raise UsageError(
            f"{where}: samples are from {x.min()} to {x.max()}, and the data set's {feature.dtype}"
        )
    return np.ascontiguousarray(x, feature.dtype)


def _targets(y: Array, target: TargetSpec, where: str) -> Array:
    if y.shape[1:] != target.shape:
        raise UsageError(f"{where}: a target is of shape {y.shape[1:]}, not {target.shape}")
    if not target.classes:
        return _finite(y, f"{where}: targets")
    is_whole = y.dtype.kind in "iub"
    if not is_whole or not 0 <= y.min() <= y.max() < target.classes:
        # Texts and objects may have no least and no largest.
        found = f"{y.dtype} from {y.min()} to {y.max()}" if is_whole else f"{y.dtype}"
        raise UsageError(
            f"{where}: targets must be classes, whole numbers from 0 to {target.classes - 1}, not "
            f"{found}"
        )
    return np.ascontiguousarray(y, np.int32)


def _finite(values: Array, what: str) -> Array:
    if values.dtype.kind not in "fiub":
        raise UsageError(f"{what} are {values.dtype}, and numbers are needed")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(made).all():
        raise UsageError(f"{what} are not all finite numbers")
    return made
