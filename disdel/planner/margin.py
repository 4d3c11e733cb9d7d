"""The safety margin: how much more than predicted a container may come to need.

Split-conformal prediction: if residuals (measured minus predicted) are exchangeable, the next one
exceeds the `ceil((n + 1)(1 - rate))`-th smallest of `n` with a probability of at most `rate`. For a
rate of 1 in 1,000 that takes 999 of them. With fewer, the largest is exceeded with a probability
of 1 / (n + 1), and what lies beyond it is bounded by an exponential tail: down from there to
`rate`, the tail adds its scale times the logarithm of the two probabilities' ratio. The scale is
the mean absolute deviation of the residuals, with a prior that counts as one of them. So the margin
is the prior where nothing is known, falls with every residual that fits, and passes into the
conformal quantile without a step.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# The prior of a margin is given for this rate.
PRIOR_MISS_RATE = 1e-3


def margin_mb(
    residuals_mb: Sequence[float], *, miss_rate: float, prior_mb: float, floor_mb: float = 0.0
) -> float:
    """The margin that at most a share `miss_rate` of containers exceeds, in MB.

    It never falls when `miss_rate` falls, nor when a residual is added that exceeds it.

    Args:
        residuals_mb: measured minus predicted memory of earlier containers, in any order.
        miss_rate: above 0, below 1.
        prior_mb: the margin of `PRIOR_MISS_RATE` without residuals.
        floor_mb: the least margin.
    """
    count = len(residuals_mb)
    rank = math.ceil((count + 1) * (1 - miss_rate))
    if rank <= count:
        return max(floor_mb, sorted(residuals_mb)[rank - 1])
    scale_mb = prior_mb / math.log(1 / PRIOR_MISS_RATE)
    largest_mb = 0.0
    if residuals_mb:
        centre_mb = statistics.median(residuals_mb)
        spread_mb = math.fsum(abs(residual - centre_mb) for residual in residuals_mb)
        scale_mb = (scale_mb + spread_mb) / (count + 1)
        largest_mb = max(residuals_mb)
    beyond = max(0.0, math.log(1 / ((count + 1) * miss_rate)))
    return max(floor_mb, largest_mb + scale_mb * beyond)
