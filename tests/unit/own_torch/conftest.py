"""From the text of a file to what is found out about its module, and to the module's trainer."""

import sys
from pathlib import Path

import pytest

from disdel.user_code import collect
from disdel.wire import DescribeRequest, Network
from disdel.worker.describe import describe


@pytest.fixture
def requested(tmp_path, monkeypatch):
    """A request to describe the text of a file with a function `make`."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def requested(text, input_shape=(4,), classes=3, input_dtype="float32"):
        (tmp_path / "net.py").write_text(text)
        return DescribeRequest(
            code=collect(f"{tmp_path}/net.py:make").ref,
            folder=str(tmp_path),
            input_shape=input_shape,
            input_dtype=input_dtype,
            classes=classes,
        )

    return requested


@pytest.fixture
def trainer(requested, monkeypatch):
    """The trainer of such a text, as an action builds it; without a step taken."""

    def trainer(text, *, optimizer=None, learning_rate=None, seed=0, **shapes):
        from disdel.types import ModelSpec
        from disdel.worker import own_torch
        from disdel.worker.network import TrainerCache

        request = requested(text, **shapes)
        reply = describe(request)
        monkeypatch.setattr(own_torch, "BUNDLED", Path(request.folder))
        spec = ModelSpec(
            name="net.py:make",
            input_shape=request.input_shape,
            classes=request.classes,
            target=reply.target,
            own=reply.own,
        )
        network = Network(
            runtime="torch",
            model=spec,
            optimizer=optimizer,
            learning_rate=learning_rate,
            seed=seed,
            threads=1,
        )
        return TrainerCache().get(network, request.input_dtype)

    return trainer
