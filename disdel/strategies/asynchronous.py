"""How updates that arrive one by one become the next state: pure functions of their elements.

An update may be stale: its client began with an earlier state than the server has now. What it
stands for is its change since then, whatever others have begun with (FedBuff), or its state
(FedAsync): see `Strategy.mixes_states`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from disdel.strategies.base import Advanced, Block, Contribution, Strategy, mean_change
from disdel.types.arrays import Numbers


@dataclass(frozen=True, slots=True)
class Arrived:
    """The same elements of an update and of the state that its client began with, each (n,)."""

    began: Numbers
    update: Numbers
    contribution: Contribution


def buffered(
    strategy: Strategy,
    before: Numbers,
    arrived: Sequence[Arrived],
    kept: Mapping[str, Numbers],
    *,
    clients: int,
) -> Advanced:
    """What a full buffer makes of a block of the server's state.

    Args:
        strategy: one that does not await all.
        before: the server's elements now, (n,).
        arrived: the updates of the buffer, ordered by client, so that the same buffer comes to the
            same bits whoever was first.
        kept: the server's of the last step, by name.
        clients: how many there are in the run.
    """
    contributions = [one.contribution for one in arrived]
    weights = np.array([strategy.weight(one) for one in contributions], np.float64)
    changes = np.stack(
        [one.update - (before if strategy.mixes_states else one.began) for one in arrived]
    )
    mean = before + mean_change(changes, weights)
    numbers = strategy.numbers(contributions, clients)
    return strategy.advance(Block(before, mean, kept, numbers=numbers))
