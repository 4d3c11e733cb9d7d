"""How a model does on the clients of a federation: by client, on average, and where it is worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Of the clients that are worst off, so many are named.
_NAMED = 10

Part = Literal["train", "held-out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientScore:
    """Means over a client's samples; `accuracy` is a fraction, None where there are no classes.

    `personal_…` are those of the model that was trained further on the client's own samples; None
    where that was not asked for, or where it came to nothing.
    """

    client: int
    samples: int
    loss: float
    accuracy: float | None = None
    personal_loss: float | None = None
    personal_accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One value of each client, in a few numbers.

    Attributes:
        mean: over the clients, whatever their samples.
        by_samples: their mean weighted by samples.
        worst_tenth: the mean of the worst tenth of the clients, rounded up to whole clients.
        least: of all.
        most: of all.
    """

    mean: float
    by_samples: float
    worst_tenth: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientScores:
    """A round's model on its clients' own samples.

    Attributes:
        round: whose model it is.
        part: the samples: those that clients have held out of training, or those they train on.
        clients: how many were scored.
        unscored: how many have samples and were not: they hold none out, or it failed.
        loss: by client.
        accuracy: likewise; None where there are no classes.
        personal_loss: of the models that were trained further, of those clients that have both.
        personal_accuracy: likewise.
        worst: the clients that are worst off, the worst first.
        by_client: each of them; empty where only the sums are kept.
    """

    round: int
    part: Part
    clients: int
    unscored: int
    loss: Spread
    accuracy: Spread | None = None
    personal_loss: Spread | None = None
    personal_accuracy: Spread | None = None
    worst: tuple[int, ...] = ()
    by_client: tuple[ClientScore, ...] = ()


def spread(
    values: Sequence[float], samples: Sequence[int], *, worst: Literal["least", "most"]
) -> Spread:
    """Of at least one client: a value each, and the samples that it is a mean of."""
    ranked = np.sort(np.asarray(values, np.float64))
    if worst == "most":
        ranked = ranked[::-1]
    return Spread(
        mean=_mean(ranked),
        by_samples=float(np.average(np.asarray(values, np.float64), weights=samples)),
        worst_tenth=_mean(ranked[: math.ceil(len(ranked) / 10)]),
        least=float(ranked.min()),
        most=float(ranked.max()),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values) / len(values)


def scores_of(
    number: int, part: Part, scores: Sequence[ClientScore], *, unscored: int
) -> ClientScores | None:
    """What the scores of round `number`'s model come to; None where there is none."""
    if not scores:
        return None
    accuracy = _spread(scores, "accuracy")
    worst = sorted(scores, key=lambda one: (*_badness(one), one.client))
    return ClientScores(
        round=number,
        part=part,
        clients=len(scores),
        unscored=unscored,
        loss=spread([one.loss for one in scores], [one.samples for one in scores], worst="most"),
        accuracy=accuracy,
        personal_loss=_spread(scores, "personal_loss"),
        personal_accuracy=_spread(scores, "personal_accuracy"),
        worst=tuple(one.client for one in worst[:_NAMED]),
        by_client=tuple(sorted(scores, key=lambda one: one.client)),
    )


def _badness(score: ClientScore) -> tuple[float, float]:
    return (0.0 if score.accuracy is None else score.accuracy, -score.loss)


def _spread(scores: Sequence[ClientScore], name: str) -> Spread | None:
    found = [(getattr(one, name), one.samples) for one in scores]
    told = [(value, samples) for value, samples in found if value is not None]
    if not told:
        return None
    values, samples = zip(*told, strict=True)
    return spread(values, samples, worst="most" if name.endswith("loss") else "least")
