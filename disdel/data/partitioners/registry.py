"""The partitioners that there are, by the name that stands before the colon of `--partition`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from disdel.errors import PartitionError, UsageError
from disdel.types.assignment import Assignment, ClientIds, Positions
from disdel.types.named import Named, parameters_said, usage

OPTION = "--partition"
# What the caller gives a partitioner; the user gives the rest.
_GIVEN = ("asked",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What a partitioner is asked for.

    Attributes:
        samples: those of the training split.
        clients: among how many they are to be dealt, at least 1 and at most `samples`. One that
            decides it itself may make others.
        seed: the run's; the same one deals the same way.
        read_labels: reads the labels, where they are needed.
        read_ids: reads the column of a table that tells whose a sample is, by its name.
    """

    samples: int
    clients: int
    seed: int
    read_labels: Callable[[], npt.NDArray[Any]]
    read_ids: Callable[[str], ClientIds]

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Class numbers (int32) or numbers to predict (float32) of all samples, (samples,).

        Raises:
            PartitionError: a sample has several.
        """
        labels = self.read_labels()
        if labels.ndim != 1:
            raise PartitionError(
                f"it looks at the label of each sample, and targets are of shape {labels.shape[1:]}"
            )
        return labels

    def classes(self, bins: int | None) -> npt.NDArray[np.int64]:
        """The class of each sample, (samples,), from 0 and without gaps.

        Numbers to predict are put into `bins` classes of equally many samples (10 by default), cut
        at their quantiles; equal numbers stay in one class.

        Raises:
            PartitionError: `bins` are asked for, and there are classes.
        """
        labels = self.labels
        if labels.dtype.kind != "f":
            if bins is not None:
                raise PartitionError(
                    f"bins={bins} is for numbers to predict, and there are classes"
                )
            return np.unique(labels, return_inverse=True)[1].reshape(-1)
        cuts = np.quantile(labels, np.linspace(0, 1, (bins or DEFAULT_BINS) + 1)[1:-1])
        return np.unique(np.searchsorted(cuts, labels, side="right"), return_inverse=True)[1]

    def told_classes(self, bins: int | None, found: int) -> str:
        """How many `classes` has found, in words, and why there are not more."""
        told = "1 class" if found == 1 else f"{found} classes"
        if self.labels.dtype.kind != "f":
            return told
        wanted = bins or DEFAULT_BINS
        ties = "" if found == wanted else ", as equal numbers stay in one class"
        return f"{told} of numbers by bins={wanted}{ties}: raise bins, or take fewer"

    def random(self) -> np.random.Generator:
        """Random numbers that seed, samples and clients decide."""
        return np.random.default_rng((self.seed, self.samples, self.clients))


DEFAULT_BINS = 10

Dealt: TypeAlias = Assignment | Sequence[Positions]
# Takes what is asked for, and parameters of its own.
Partitioner: TypeAlias = Callable[..., Dealt]
P = TypeVar("P", bound=Partitioner)


@dataclass(frozen=True, slots=True)
class Registered:
    """A partitioner; one that `decides_clients` makes as many as the data have."""

    deal: Partitioner
    decides_clients: bool


_REGISTERED: dict[str, Registered] = {}


def partitioner(name: str, *, decides_clients: bool = False) -> Callable[[P], P]:
    """Register a function as the partitioner of a name.

    Beside what is asked for it takes the parameters that may be said behind the colon, as
    `types/named.py` reads them. It says which positions of the training split each client owns: one
    array a client, ascending or not, or an `Assignment`. That all are there once is checked behind
    it.
    """

    def register(deal: P) -> P:
        _REGISTERED[name] = Registered(deal, decides_clients)
        return deal

    return register


def partitioner_names() -> tuple[str, ...]:
    """What may be said for `--partition`, in order: `dirichlet:ALPHA[,least=1]`, `iid`."""
    return tuple(
        usage(name, entry.deal, leave_out=_GIVEN) for name, entry in sorted(_REGISTERED.items())
    )


def find_partitioner(named: Named) -> Registered:
    """The partitioner that `--partition` names, with its parameters filled in.

    Raises:
        UsageError: there is none of this name, or it takes other parameters.
    """
    if (entry := _REGISTERED.get(named.name)) is None:
        raise UsageError(
            f"unknown {OPTION} {named.text!r}; known: {', '.join(partitioner_names())}, and your "
            "own as FILE.py:FUNCTION"
        )
    said = parameters_said(named, entry.deal, OPTION, leave_out=_GIVEN)
    return Registered(partial(entry.deal, **said), entry.decides_clients)
