"""What a strategy adds to the gradients of a segment, out of the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from disdel.protocol.messages import StepTerms
from disdel.runtimes.base import AddedTerms
from disdel.store.base import Store
from disdel.store.codec import read_named
from disdel.types.arrays import Array


def added_terms(store: Store, terms: StepTerms | None, trained: Sequence[str]) -> AddedTerms | None:
    """What `terms` add, for a network of which gradients train the tensors `trained`.

    Raises:
        StoreError: what they are made of is not there.
    """
    if terms is None:
        return None
    shift: dict[str, Array] = {}
    if terms.correction_key is not None:
        prefix = f"{terms.correction}/"
        kept = read_named(store, terms.correction_key, [prefix + name for name in trained])
        shift = {name.removeprefix(prefix): value for name, value in kept.items()}
    if terms.proximal:
        # mu (w - w_round) = mu w + shift: one copy of the weights in memory, and not two.
        for name, value in read_named(store, terms.anchor_key, trained).items():
            np.multiply(value, -terms.proximal, out=value, casting="same_kind")
            shift[name] = np.add(value, shift[name]) if name in shift else value
    return AddedTerms(terms.proximal, shift)
