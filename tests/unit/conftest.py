"""What tests of the user's own models have in common."""

import math
import sys

import numpy as np
import pytest

from disdel.protocol.description import DescribeRequest
from disdel.types import feature_of, target_of
from disdel.user_code.collecting import collect


@pytest.fixture
def requested(tmp_path, monkeypatch):
    """A request to describe the text of a file with a function `make`."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def requested(
        text,
        input_shape=(4,),
        classes=3,
        input_dtype="float32",
        precision="float32",
        batch_size=8,
        x=None,
        y=None,
        target_shape=(),
        tokens=False,
    ):
        (tmp_path / "net.py").write_text(text)
        rng = np.random.default_rng(0)
        if x is None:
            x = rng.standard_normal((max(2, batch_size), *input_shape))
            x = (100 * x).clip(0, 255) if input_dtype == "uint8" else x
        x = np.asarray(x, input_dtype)
        if y is None:
            count = len(x) * math.prod(target_shape)
            y = np.arange(count) % classes if classes else np.arange(count) / count
            y = y.reshape(len(x), *target_shape)
        y = np.asarray(y, np.int32 if classes else np.float32)
        np.savez(tmp_path / "samples.npz", x=x, y=y)
        return DescribeRequest(
            code=collect(f"{tmp_path}/net.py:make").ref,
            folder=str(tmp_path),
            samples=str(tmp_path / "samples.npz"),
            features=(feature_of(input_shape, input_dtype, from_table=not tokens),),
            targets=(target_of(classes, target_shape),),
            batch_size=batch_size,
            precision=precision,
        )

    return requested
