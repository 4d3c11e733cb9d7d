"""Estimators of a train action's memory, chosen by name.

`measured` adds up what was measured of the runtime and what sizes say of data and model, with a
margin that is learned from earlier containers. `sap` is the formula of the DISDEL thesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from disdel.planner.calibration import alike
from disdel.planner.margin import margin_mb
from disdel.planner.memory import Work, train_parts
from disdel.planner.observations import Observation, telling
from disdel.types import Aims, Estimate, RuntimeCosts
from disdel.types.units import MIB

# An action stops and asks for more when less than 24 MB of its limit are left (the critical region
# of `container_memory`); two equal containers differ by a few MB more than that.
_MARGIN_FLOOR_MB = 32.0

# The margin of a network that was never seen, by part: of the framework's floor, and of what is
# computed from sizes, or for the most part told by the compiler.
_PRIOR_MB = 16.0
_PRIOR_SHARE_OF_FLOOR = 0.05
_PRIOR_SHARE_OF_WORK = 0.20
_PRIOR_SHARE_OF_COMPILED = 0.05


class Estimator(Protocol):
    """Predicts the memory of a train action by part."""

    def estimate(self, work: Work) -> Estimate:
        """The parts, margin included, in bytes."""


@dataclass(frozen=True, slots=True)
class MeasuredEstimator:
    """Floor, sizes, and a margin learned from what earlier containers took.

    A network that was trained before with the same batch size and precision gets the margin of its
    own residuals. For any other, the residuals of all networks can only widen the prior: it has no
    residuals of its own to be exchangeable with.

    Attributes:
        runtime: the runtime's costs.
        observations: earlier containers of this runtime, oldest first.
        miss_rate: the share of containers that may need more than their estimate.
    """

    runtime: RuntimeCosts
    observations: Sequence[Observation]
    miss_rate: float

    def estimate(self, work: Work) -> Estimate:
        """The memory of a train action in bytes, with a margin learned from earlier containers."""
        parts = train_parts(work)
        return Estimate(
            framework=math.ceil(self.runtime.floor_mb * MIB),
            data=parts.data,
            model=parts.model,
            step=parts.step,
            margin=math.ceil(self._margin_mb(work, parts.total / MIB) * MIB),
        )

    def _margin_mb(self, work: Work, predicted_mb: float) -> float:
        share = _PRIOR_SHARE_OF_WORK if work.calls is None else _PRIOR_SHARE_OF_COMPILED
        prior_mb = _PRIOR_MB + _PRIOR_SHARE_OF_FLOOR * self.runtime.floor_mb + share * predicted_mb
        seen = telling(self.observations, loads=work.loads)
        own = alike(seen, work.label, work.batch_size, work.precision)
        learned_mb = margin_mb(
            self._residuals_mb(own or seen),
            miss_rate=self.miss_rate,
            prior_mb=prior_mb,
            floor_mb=_MARGIN_FLOOR_MB,
        )
        if own:
            return learned_mb
        return max(learned_mb, margin_mb((), miss_rate=self.miss_rate, prior_mb=prior_mb))

    def _residuals_mb(self, observations: Sequence[Observation]) -> list[float]:
        return [o.working_set_mb - (self.runtime.floor_mb + o.predicted_mb) for o in observations]


# The thesis leaves its margin open; this is a tenth of the rest.
_SAP_MARGIN_SHARE = 0.1
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class SapEstimator:
    """The thesis's estimate: `memory = fit + pkg + dta + mod + saf`, `fit = e·p·s` bytes.

    `e` epochs, `p` trainable parameters, `s` training steps of the shard; `dta` is samples times
    attributes, `mod` the weights.
    """

    runtime: RuntimeCosts

    def estimate(self, work: Work) -> Estimate:
        """The memory of a train action in bytes, by the thesis's formula."""
        steps = math.ceil(work.shard_samples / work.batch_size)
        pkg = math.ceil(self.runtime.floor_mb * MIB)
        dta = work.shard_samples * math.prod(work.dataset.input_shape)
        mod = work.model.parameters * _FLOAT_BYTES
        fit = work.epochs * work.model.parameters * steps
        saf = math.ceil(_SAP_MARGIN_SHARE * (pkg + dta + mod + fit))
        return Estimate(framework=pkg, data=dta, model=mod, step=fit, margin=saf)


def choose_estimator(
    aims: Aims, runtime: RuntimeCosts, observations: Sequence[Observation]
) -> Estimator:
    """The estimator that `aims` names."""
    if aims.estimator == "sap":
        return SapEstimator(runtime)
    return MeasuredEstimator(runtime, observations, aims.miss_rate)
