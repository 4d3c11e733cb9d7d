"""From the text of a file to what is found out about its module, and to the module's trainer."""

from pathlib import Path

import pytest

from disdel.wire import Network
from disdel.worker.describe import describe


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
