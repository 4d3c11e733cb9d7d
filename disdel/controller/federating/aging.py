"""Averages of updates that began with different states: the staler one is, the less it weighs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.rounds import ledger_entry
from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.strategies.base import Strategy
from disdel.types import LedgerEntry


def why_not_aged(strategy: Strategy) -> str | None:
    """Why updates of a strategy cannot be added to those of later rounds; None where they can."""
    terms = strategy.terms()
    if strategy.own:
        return "has its clients keep something from round to round"
    if strategy.sees_each:
        return "compares the updates of a round"
    if strategy.wants_sums:
        return "needs further sums of a round's updates"
    if terms is not None and (terms.correction or terms.own_correction):
        return "corrects gradients by what the last round has kept"
    return None


def aged_ledger(
    number: int, taken: Sequence[Cohort], factors: Sequence[float], labels_each: int
) -> list[LedgerEntry]:
    """The updates in the average of round `number`, each with what was left of its weight.

    Args:
        number: of the round.
        taken: what of which rounds is in it.
        factors: what is left of their weights, in the same order.
        labels_each: of a sample.
    """
    return [
        replace(
            ledger_entry(number, client, one, labels_each),
            weight=one.weight * factor,
            staleness=number - asked.number,
        )
        for asked, factor in zip(taken, factors, strict=True)
        for client, one in asked.answers
    ]


def aged_request(
    keys: RunKeys,
    number: int,
    taken: Sequence[Cohort],
    factors: Sequence[float],
    advance: messages.Advance | None,
) -> client_messages.CombineRequest:
    """Have the mean of these updates made: of their changes, by what is left of their weights."""
    aged = list(zip(taken, factors, strict=True))
    return client_messages.CombineRequest(
        round=number,
        sum_keys=tuple(key for asked in taken for key in asked.sum_keys),
        factors=tuple(factor for asked, factor in aged for _ in asked.sum_keys),
        updates=sum(asked.updates for asked in taken),
        weight=math.fsum(asked.weight * factor for asked, factor in aged),
        before_key=keys.state(number - 1),
        state_key=keys.state(number),
        advance=advance,
        exponent=taken[0].exponent,
    )


def train_loss(taken: Sequence[Cohort]) -> float:
    """A mean over the samples that these clients have seen."""
    samples = sum(asked.samples for asked in taken)
    return math.fsum(asked.train_loss * asked.samples for asked in taken) / samples
