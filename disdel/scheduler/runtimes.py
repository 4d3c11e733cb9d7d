"""What a runtime costs before it does any work, as measured.

`floor_mb` is the peak of a container that has imported the framework, built the default network and
traced its training step, on samples of no size: anonymous memory plus the mapped library pages that
are charged to the container which touches them first. `docs/measurements.md` has the figures and
how they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime image and its measured costs.

    Attributes:
        name: as users write it.
        image: the name of its actions' container image, without prefix and tag.
        floor_mb: memory before any samples.
        cold_start_s: from the request to the first training step.
        step_overhead_s: of a training step, whatever the network.
        multiply_adds_per_s: sustained by one CPU thread in a training step.
        thread_exponent: `n` threads are `n**thread_exponent` times as fast as one.
    """

    name: str
    image: str
    floor_mb: float
    cold_start_s: float
    step_overhead_s: float
    multiply_adds_per_s: float
    thread_exponent: float


TENSORFLOW = Runtime(
    name="tensorflow",
    image="runtime-tensorflow",
    floor_mb=560,
    cold_start_s=4.5,
    step_overhead_s=1e-3,
    multiply_adds_per_s=29e9,
    thread_exponent=0.65,
)

# collectWeights: Python, numpy, the Redis client and the proxy.
BASE_IMAGE = "runtime-base"
BASE_FLOOR_MB = 56
