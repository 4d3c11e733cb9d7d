"""How many samples clients have that load their own: what `counts()` beside their function says."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Count
from disdel.errors import UsageError
from disdel.types.federation import MAX_CLIENTS
from disdel.user_code.collecting import UserCode
from disdel.user_code.module import UserModule

_NAME = "counts"
_MOST = 2**40


def client_counts(code: UserCode) -> NDArray[np.int64]:
    """What the user's code says of its clients, (clients,), in a process of its own.

    Raises:
        UsageError: it says nothing, fails, or says something else.
    """
    with tempfile.TemporaryDirectory(prefix="disdel-counts-") as folder:
        task = Count(
            code=dataclasses.asdict(code.ref),
            folder=str(code.folder.resolve()),
            exchange_dir=folder,
        )
        run_tfds(task, Path(folder), what=f"{_NAME}() of {code.ref.entry}")
        counts: NDArray[np.int64] = np.load(Path(folder) / "counts.npy")
    return counts


def counts_of(module: UserModule) -> NDArray[np.int64]:
    """Ask the module, in the process that is for it: the samples of each client, (clients,).

    Raises:
        UsageError: it says nothing, fails, or says something else.
    """
    entry, function = module.code.entry, module.attribute(_NAME)
    if not callable(function):
        raise UsageError(
            f"{entry}: there is no function {_NAME} beside it. How many samples each client has is "
            f"needed to plan and to weigh, and is all that leaves a client: def {_NAME}(): return "
            "[120, 80, …]"
        )
    told = module.guarded(lambda: np.asarray(list(function())))
    if told.ndim != 1 or told.dtype.kind not in "iu" or not 1 <= len(told) <= MAX_CLIENTS:
        raise UsageError(
            f"{entry}: {_NAME}() must return the samples of each client, 1 to {MAX_CLIENTS} whole "
            f"numbers, not {told.dtype} of shape {told.shape}"
        )
    if not 0 <= told.min() <= told.max() < _MOST:
        raise UsageError(
            f"{entry}: {_NAME}() says that a client has {told.min()} to {told.max()} samples"
        )
    return told.astype(np.int64)
