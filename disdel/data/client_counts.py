"""How many samples clients have that load their own: what `counts()` beside their function says.

Where there is no such function, nothing of the user's runs here: clients are asked where they are.
"""

from __future__ import annotations

import dataclasses
import re
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
_NAMED = re.compile(rb"\b" + _NAME.encode() + rb"\b")
_MOST = 2**40


def client_counts(code: UserCode) -> NDArray[np.int64] | None:
    """What the user's code says of its clients, (clients,), in a process of its own.

    None where it has no function `counts`.

    Raises:
        UsageError: it fails, or says something else.
    """
    if not any(map(_NAMED.search, code.python.values())):
        # The packages that load samples may be only where these are.
        return None
    with tempfile.TemporaryDirectory(prefix="disdel-counts-") as folder:
        task = Count(
            code=dataclasses.asdict(code.ref),
            folder=str(code.folder.resolve()),
            exchange_dir=folder,
        )
        run_tfds(task, Path(folder), what=f"{_NAME}() of {code.ref.entry}")
        counts: NDArray[np.int64] = np.load(Path(folder) / "counts.npy")
    return counts if len(counts) else None


def counts_of(module: UserModule) -> NDArray[np.int64]:
    """Ask the module, in the process that is for it: the samples of each client, (clients,).

    Of no client where there is no such function.

    Raises:
        UsageError: it fails, or says something else.
    """
    entry, function = module.code.entry, module.attribute(_NAME)
    if function is None:
        return np.empty(0, np.int64)
    if not callable(function):
        raise UsageError(
            f"{entry}: {_NAME} beside it must be a function that returns the samples of each "
            f"client: def {_NAME}(): return [120, 80, …]"
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
