"""What a stored state says of its tensors, and what a sum of updates of it must have.

A sum has the units of all floating-point tensors side by side, but for frozen ones, and further
sums those of what gradients train. Of other tensors, it has the largest, or none of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from disdel.protocol.messages import FROZEN, FURTHER, LARGEST, SUMS, UNTRAINED
from disdel.store.codec import Header, TensorInfo

Part = Literal["summed", "frozen", "other"]
_UNITS = np.dtype("<i8")


def named_in(metadata: Mapping[str, str], which: str) -> frozenset[str]:
    """The tensors that metadata lists as UNTRAINED or FROZEN."""
    return frozenset(json.loads(metadata.get(which, "[]")))


def passed_on(state: Header, sums: Sequence[Header]) -> dict[str, str]:
    """What the next state says of its tensors: as the one before it, else as the sums do."""
    told = [state.metadata, *(one.metadata for one in sums[:1])]
    found = {}
    for name in (UNTRAINED, FROZEN):
        if said := [metadata[name] for metadata in told if name in metadata]:
            found[name] = said[0]
    return found


def part_of(tensor: TensorInfo, frozen: frozenset[str]) -> Part:
    """Where a tensor of a state is in a sum of updates: among the units, nowhere, or by itself."""
    if tensor.dtype.kind != "f":
        return "other"
    return "frozen" if tensor.name in frozen else "summed"


def summed_elements(state: Header) -> int:
    """How many units a sum of updates of a state has."""
    frozen = named_in(state.metadata, FROZEN)
    return _elements(one for one in state.tensors if part_of(one, frozen) == "summed")


def is_sum_of(header: Header, state: Header, *, counts: int, further: Iterable[str]) -> bool:
    """Whether a blob has what a sum of updates must.

    Args:
        header: of the sum.
        state: that the round began with.
        counts: so many whole numbers stand behind the units.
        further: the names of further sums.
    """
    untrained = named_in(passed_on(state, [header]), UNTRAINED)
    floats = [one for one in state.tensors if one.dtype.kind == "f"]
    trained = _elements(one for one in floats if one.name not in untrained)
    always = {SUMS: (_UNITS, summed_elements(state) + counts)}
    always |= {FURTHER + name: (_UNITS, trained) for name in further}
    others = {
        LARGEST + one.name: (one.dtype, _elements([one]))
        for one in state.tensors
        if one.dtype.kind != "f"
    }
    found = {one.name: (one.dtype, _elements([one])) for one in header.tensors}
    return found in (always, always | others)


def _elements(tensors: Iterable[TensorInfo]) -> int:
    return sum(math.prod(one.shape) for one in tensors)
