"""Who takes part in a round, as a strategy has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.errors import StrategyFailed
from disdel.strategies.base import Strategy


def chosen_participants(
    strategy: Strategy, roster: Sequence[int], number: int, seed: int
) -> list[int]:
    """The clients of `roster` that a strategy lets train in round `number`, ascending.

    Raises:
        StrategyFailed: it chose nobody, or somebody twice, or who is not of the roster.
    """
    chosen = sorted(strategy.participants(roster, number, seed))
    odd = [client for client in chosen if client not in set(roster) or chosen.count(client) > 1]
    if not chosen or odd:
        raise StrategyFailed(
            f"strategy {strategy.name} chose {chosen} for round {number}, and each must be one of "
            f"the {len(roster)} clients that have something to train in it: {list(roster)[:10]}"
        )
    return chosen
