"""What tests of the user's own models have in common."""

import sys

import pytest

from disdel.user_code import collect
from disdel.wire import DescribeRequest


@pytest.fixture
def requested(tmp_path, monkeypatch):
    """A request to describe the text of a file with a function `make`."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def requested(text, input_shape=(4,), classes=3, input_dtype="float32", precision="float32"):
        (tmp_path / "net.py").write_text(text)
        return DescribeRequest(
            code=collect(f"{tmp_path}/net.py:make").ref,
            folder=str(tmp_path),
            input_shape=input_shape,
            input_dtype=input_dtype,
            classes=classes,
            precision=precision,
        )

    return requested
