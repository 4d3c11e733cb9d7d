"""A strategy's wishes in the words of the wire: where in the store what it needs lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from disdel.errors import StrategyFailed
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import Advance, ClientKeeps, StepTerms
from disdel.strategies.asking import name_of, parameters_of
from disdel.strategies.base import Contribution, Strategy

_NO_LOSS = " (a client's loss is none before it has trained)"


def step_terms(
    strategy: Strategy, keys: RunKeys, number: int, own_key: str | None = None
) -> StepTerms | None:
    """What the steps of a round add to their gradients.

    Args:
        strategy: says so.
        keys: of the run.
        number: of the round.
        own_key: where the client's last round has left what the client keeps.

    Raises:
        StrategyFailed: its terms are no terms.
    """
    terms = strategy.terms()
    if terms is None:
        return None
    for name, kept in ((terms.correction, strategy.kept), (terms.own_correction, strategy.own)):
        if name is not None and name not in kept:
            raise StrategyFailed(
                f"strategy {strategy.name} corrects gradients by {name!r}, and keeps "
                f"{', '.join(kept) or 'nothing'}"
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
        own_correction=terms.own_correction,
        own_key=None if terms.own_correction is None else own_key,
    )


def client_keeps(
    strategy: Strategy, keys: RunKeys, number: int, own_key: str | None, rate_sum: float
) -> ClientKeeps | None:
    """What a client is to keep of a round; None where that is nothing.

    Where it goes is said for each attempt.
    """
    if not strategy.own:
        return None
    return ClientKeeps(
        strategy=name_of(strategy),
        parameters=parameters_of(strategy),
        before_key=keys.state(number - 1),
        kept_key=_kept_before(strategy, keys, number),
        own_key=own_key,
        new_own_key="",
        rate_sum=rate_sum,
    )


def weights_of(
    strategy: Strategy, contribution: Contribution, number: int
) -> tuple[float, dict[str, float]]:
    """What an update weighs in the mean of round `number`, and in further sums.

    Raises:
        StrategyFailed: a weight is none.
    """
    weight, sums = strategy.weight(contribution), dict(strategy.sums(contribution))
    if odd := [name for name, one in sums.items() if not math.isfinite(one)]:
        raise StrategyFailed(
            f"strategy {strategy.name} gives the update of client {contribution.client} in round "
            f"{number} the weight {sums[odd[0]]} in the sum {odd[0]}, which must be a number"
            f"{_NO_LOSS}"
        )
    if not 0 < weight < math.inf:
        raise StrategyFailed(
            f"strategy {strategy.name} gives the update of client {contribution.client} in round "
            f"{number} the weight {weight} (of {contribution.samples} samples), which must be a "
            f"number above 0{'' if math.isfinite(contribution.loss) else _NO_LOSS}"
        )
    return weight, sums


def advance_of(
    strategy: Strategy,
    keys: RunKeys,
    number: int,
    contributions: Sequence[Contribution],
    clients: int,
) -> Advance | None:
    """How the updates of a round become the next state; None where that is their mean.

    Args:
        strategy: says so.
        keys: of the run.
        number: of the round.
        contributions: of those that took part.
        clients: how many there are.
    """
    if not (strategy.advances or strategy.sees_each):
        return None
    sums = strategy.sum_names()
    return Advance(
        strategy=name_of(strategy),
        parameters=parameters_of(strategy),
        mean_key=keys.mean(number),
        before_key=keys.state(number - 1),
        kept_key=_kept_before(strategy, keys, number),
        new_kept_key=keys.kept(number),
        numbers=dict(strategy.numbers(contributions, clients)),
        sums=sums,
        sums_key=keys.sums(number) if sums else None,
    )


def _kept_before(strategy: Strategy, keys: RunKeys, number: int) -> str | None:
    """Where the round before has left what the server keeps; None where there is nothing."""
    return keys.kept(number - 1) if strategy.kept and number > 1 else None
