"""From the text of a file to what is found out about its module, and to the module's trainer."""

from pathlib import Path

import numpy as np
import pytest

from disdel.models.user.describe import describe
from disdel.protocol.messages import Network


@pytest.fixture
def trainer(requested, monkeypatch):
    """The trainer of such a text, as an action builds it; without a step taken."""

    def trainer(text, *, optimizer=None, learning_rate=None, seed=0, **shapes):
        from disdel.models.user import bundled as own_code
        from disdel.worker.network import TrainerCache

        monkeypatch.chdir(".")  # an action goes to its code
        request = requested(text, **shapes)
        reply = describe(request)
        monkeypatch.setattr(own_code, "BUNDLED", Path(request.folder))
        network = Network(
            runtime="torch",
            model=reply.model,
            optimizer=optimizer,
            learning_rate=learning_rate,
            seed=seed,
            threads=1,
        )
        samples = np.load(request.samples)["x"]
        return TrainerCache().get(network, samples)

    return trainer
