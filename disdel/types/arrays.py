"""Names for numpy arrays in signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
Tensors: TypeAlias = Mapping[str, Array]
Numbers: TypeAlias = npt.NDArray[np.float64]
