"""A strategy's wishes in the words of the wire: where in the store what it needs lies."""

from __future__ import annotations

import math

from disdel.errors import StrategyFailed
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import Advance, StepTerms
from disdel.strategies.base import Strategy
from disdel.strategies.registry import parameters_of


def step_terms(strategy: Strategy, keys: RunKeys, number: int) -> StepTerms | None:
    """What the steps of a round add to their gradients.

    Raises:
        StrategyFailed: its terms are no terms.
    """
    terms = strategy.terms()
    if terms is None:
        return None
    if terms.correction is not None and terms.correction not in strategy.kept:
        raise StrategyFailed(
            f"strategy {strategy.name} corrects gradients by {terms.correction!r}, and keeps "
            f"{', '.join(strategy.kept) or 'nothing'}"
        )
    if not 0 <= terms.proximal < math.inf:
        raise StrategyFailed(
            f"strategy {strategy.name} has a proximal term of {terms.proximal}, which must be a "
            "number from 0 on"
        )
    return StepTerms(
        proximal=terms.proximal,
        anchor_key=keys.state(number - 1),
        correction=terms.correction,
        correction_key=None if terms.correction is None else _kept_before(strategy, keys, number),
    )


def advance_of(strategy: Strategy, keys: RunKeys, number: int) -> Advance | None:
    """How the mean of a round's updates becomes the next state; None where it is that."""
    if not strategy.advances:
        return None
    return Advance(
        strategy=strategy.name,
        parameters=parameters_of(strategy),
        mean_key=keys.mean(number),
        before_key=keys.state(number - 1),
        kept_key=_kept_before(strategy, keys, number),
        new_kept_key=keys.kept(number),
    )


def _kept_before(strategy: Strategy, keys: RunKeys, number: int) -> str | None:
    """Where the round before has left what the server keeps; None where there is nothing."""
    return keys.kept(number - 1) if strategy.kept and number > 1 else None
