"""GPU memory of a train action: pure arithmetic on the sizes that its RAM is estimated from.

None of this was measured on a GPU: the constants are assumptions, meant to be too large.
"""

from __future__ import annotations

import math

from disdel.planner.memory import Work, step_bytes, weight_bytes
from disdel.types.units import MIB

# What CUDA and its libraries take in each process, of the GPU beside tensors and of RAM.
CONTEXT_MB = 600
HOST_MB = 1024
# For convolutions, which choose their algorithms by what room they are given.
_WORKSPACE_MB = 512
_MARGIN_SHARE = 0.25
_STEP_MB = 32

# Variables, gradients and the optimizer's state (Adam's two); a state on its way is in RAM.
_WEIGHT_COPIES = 4


def gpu_tensors_mb(work: Work) -> int:
    """What the tensors of a train action may take of a GPU, margin included."""
    sizes_mb = (weight_bytes(work, _WEIGHT_COPIES) + step_bytes(work)) / MIB
    needed_mb = sizes_mb * (1 + _MARGIN_SHARE) + _WORKSPACE_MB
    return math.ceil(needed_mb / _STEP_MB) * _STEP_MB
