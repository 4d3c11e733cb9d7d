"""Partitioners of the user's own: `--partition FILE.py:FUNCTION`, run below a guard."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from disdel.data.partitioners.registry import OPTION, Asked, Registered
from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Deal
from disdel.errors import PartitionError
from disdel.types.assignment import Assignment, check_cover
from disdel.types.named import Named, parameters_said, read_named
from disdel.user_code.collecting import UserCode, collect
from disdel.user_code.module import UserModule

_FORMS = (
    "needed is an array of positions for each client, or one array with the client of each sample"
)


def own_partitioner(named: Named) -> Registered:
    """The function of the user's that `--partition` names.

    Raises:
        UsageError: there is no such file, or it does not compile.
    """
    return Registered(partial(_deal, collect(named.name), named.text), decides_clients=False)


def _deal(code: UserCode, said: str, asked: Asked) -> Assignment:
    """What the function deals, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="disdel-partition-") as folder:
        exchange = Path(folder)
        np.save(exchange / "labels.npy", asked.read_labels())
        task = Deal(
            code=dataclasses.asdict(code.ref),
            folder=str(code.folder.resolve()),
            said=said,
            clients=asked.clients,
            seed=asked.seed,
            exchange_dir=folder,
        )
        run_tfds(task, exchange, what=code.ref.entry)
        order, sizes = np.load(exchange / "order.npy"), np.load(exchange / "sizes.npy")
    check_cover(order, asked.samples)
    return Assignment(sizes=sizes, order=lambda: order)


def dealt_by_users(
    module: UserModule, said: str, labels: npt.NDArray[Any], clients: int, seed: int
) -> Assignment:
    """Call the function, in the process that is for it, and read what it returns.

    It is offered `labels`, of shape (samples, *target), `samples`, `clients` and `seed`, of which
    it takes what it has parameters for; its others are what the user says behind its name.

    Raises:
        UsageError: it failed, or returned something else.
    """
    offered = {"labels": labels, "samples": len(labels), "clients": clients, "seed": seed}
    function = module.attribute(module.code.function)
    given: dict[str, Any] = {}
    if callable(function):
        given = module.guarded(
            lambda: parameters_said(read_named(said), function, OPTION, leave_out=offered)
        )
    dealt = module.call(**offered, **given)
    return module.guarded(lambda: _read(dealt, len(labels), clients, module.code.entry))


def _read(dealt: object, samples: int, clients: int, entry: str) -> Assignment:
    if isinstance(dealt, Assignment):
        return dealt
    if not isinstance(dealt, Iterable) or isinstance(dealt, str | bytes | dict):
        raise PartitionError(f"{entry} returned a {type(dealt).__name__}; {_FORMS}")
    parts = [np.asarray(part) for part in dealt]
    if parts and all(part.ndim == 0 for part in parts):
        if len(parts) != samples:
            raise PartitionError(
                f"{entry} returned {len(parts)} numbers for {samples} samples; {_FORMS}"
            )
        return Assignment.of_owners(np.array(parts), clients)
    return Assignment.of_positions(parts)
