"""Updates of bounded norm: by a fixed bound, or by one that follows the clients' norms.

The adaptive bound is that of Andrew et al. (2021, https://arxiv.org/abs/1905.03871): it goes to a
quantile of the clients' norms, which the server learns of by a noisy count alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from disdel.errors import UpdateRefused, UsageError
from disdel.privacy.noise import Noise

# Above the rounding of a norm's float64 sums.
_SLACK = 1e-9
# A count is in steps of this, its noise as well.
_COUNT_STEP = 2.0**-20


@dataclass(frozen=True, slots=True)
class Clip:
    """What an update is multiplied by, and whether its norm was within the bound."""

    factor: float
    within: bool


def clip(norm: float, bound: float, *, rounding: float = 0.0) -> Clip:
    """Scale an update down to the bound C; smaller ones stay as they are.

    Args:
        norm: of the update.
        bound: C.
        rounding: what storing the update may add to its norm (`rounding_norm`); the bound holds
            for what is stored.

    Raises:
        UpdateRefused: the norm is no number, so that nothing bounds the update.
        UsageError: rounding alone is as large as the bound.
    """
    if not math.isfinite(norm):
        raise UpdateRefused(f"its update has the norm {norm}, which nothing can bound")
    check_bound(bound, rounding)
    room = bound - rounding
    factor = 1.0 if norm <= room else room / norm * (1 - _SLACK)
    return Clip(factor, norm <= bound)


def check_bound(bound: float, rounding: float) -> None:
    """Whether a bound leaves room for what storing an update may add to its norm.

    Raises:
        UsageError: it does not.
    """
    if bound <= rounding:
        raise UsageError(
            f"a bound of {bound:g} on an update's norm is below the {rounding:.3g} by which fixed "
            "point may change that norm: raise --dp-clip"
        )


def rounding_norm(elements: int, step: float) -> float:
    """The most that rounding each element to a multiple of `step` adds to a norm."""
    return math.sqrt(elements) * step / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveClip:
    """How the bound follows the clients' norms.

    Attributes:
        quantile: of the norms, to which the bound goes.
        rate: how fast: the bound is multiplied by exp(-rate · (share within - quantile)).
        count_noise: standard deviation of the noise in the count of updates within the bound.
    """

    quantile: float = 0.5
    rate: float = 0.2
    count_noise: float

    @classmethod
    def for_cohort(cls, cohort: int) -> AdaptiveClip:
        """As the paper has it: the count's noise is a twentieth of the cohort."""
        return cls(count_noise=cohort / 20)

    def update_noise(self, noise: float) -> float:
        """The multiplier of the updates' noise, so that with the count's both cost as `noise` does.

        The count is of ±1/2 for each client, so its sensitivity is 1/2.

        Raises:
            UsageError: the count alone costs more.
        """
        if noise >= 2 * self.count_noise:
            raise UsageError(
                f"the count of clipped updates has noise {self.count_noise:g}, a twentieth of the "
                f"cohort, which alone costs more than a noise multiplier of {noise:g} allows: it "
                f"must be above {noise / 2:g}; choose at least {math.floor(10 * noise) + 1} "
                "clients a round, or a fixed bound"
            )
        return float((noise**-2 - (2 * self.count_noise) ** -2) ** -0.5) if noise else 0.0

    def next_bound(self, bound: float, share_within: float) -> float:
        """The next round's bound, from the noisy share of updates within this one."""
        return bound * math.exp(-self.rate * (share_within - self.quantile))

    def share_within(self, halves: float, cohort: float, noise: Noise) -> float:
        """The noisy share of updates within the bound.

        Args:
            halves: the sum of +1/2 for each update within it and -1/2 for each other.
            cohort: the clients expected, whoever has answered.
            noise: whose first number is used, of which this is the only use.
        """
        [drawn] = noise.integers(0, 1, self.count_noise / _COUNT_STEP)
        return (halves + float(drawn) * _COUNT_STEP) / cohort + 0.5
