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
        shift = _kept(store, terms.correction_key, f"{terms.correction}/", trained)
    if terms.own_key is not None:
        # One tensor at a time: what is subtracted is needed no more.
        for name in trained:
            own = _kept(store, terms.own_key, f"{terms.own_correction}/", [name])[name]
            if name in shift:
                np.subtract(shift[name], own, out=shift[name])
            else:
                shift[name] = np.negative(own, out=own)
    if terms.proximal:
        # mu (w - w_round) = mu w + shift: one copy of the weights in memory, and not two.
        for name, value in read_named(store, terms.anchor_key, trained).items():
            np.multiply(value, -terms.proximal, out=value, casting="same_kind")
            shift[name] = np.add(value, shift[name]) if name in shift else value
    return AddedTerms(terms.proximal, shift)


def _kept(store: Store, key: str, prefix: str, names: Sequence[str]) -> dict[str, Array]:
    """The tensors that a blob has under a prefix, by their names without it."""
    kept = read_named(store, key, [prefix + name for name in names])
    return {name.removeprefix(prefix): value for name, value in kept.items()}
