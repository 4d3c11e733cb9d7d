"""Strategies that disdel does not have, on the embedded platform and a real framework."""

import asyncio
from dataclasses import replace

import pytest

from disdel.controller.training.train import train
from disdel.settings import Settings
from disdel.types import TrainJob
from disdel.types.events import silent
from tests.support import strategies
from tests.support.embedded import shared_platform

pytestmark = pytest.mark.framework

JOB = TrainJob(
    dataset="digits",
    workers=2,
    epochs=2,
    batch_size=32,
    runtime="torch",
    optimizer="sgd",
    learning_rate=strategies.FedProxStrong.RATE,
)


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    """That of a platform on which all of them train, with what was compiled for the first."""
    folder = tmp_path_factory.mktemp("state")
    with shared_platform(folder):
        yield folder


@pytest.fixture(autouse=True)
def _shared(state_dir, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(state_dir))


def losses(tmp_path, strategy, **job):
    """The loss of the state of each of two rounds."""
    settings = Settings(run_dir=tmp_path / "runs")
    report, _ = asyncio.run(train(replace(JOB, strategy=strategy, **job), settings, silent))
    assert [len([e for e in report.ledger if e.round == r]) for r in (1, 2)] == [2, 2]
    return [entry.loss for entry in report.rounds]


def test_terms_and_server_state_change_what_training_comes_to(tmp_path):
    plain = losses(tmp_path, "fedavg")
    # No step of a round goes further than one from where the round began.
    held = losses(tmp_path, strategies.FedProxStrong.name)
    assert plain[1] < plain[0] < held[1] < held[0]
    # The first round is that of the mean; the second goes on in its direction.
    pushed = losses(tmp_path, strategies.ServerMomentum.name)
    assert pushed[0] == pytest.approx(plain[0], rel=1e-4)
    assert pushed[1] < plain[1]


@pytest.mark.parametrize("runtime", ["tensorflow", "compiled"])
def test_fedprox_that_holds_nobody_is_fedavg(tmp_path, runtime):
    job = {"runtime": runtime, "model": "mlp"}
    assert losses(tmp_path, "fedprox:mu=0", **job) == losses(tmp_path, "fedavg", **job)


@pytest.mark.parametrize("runtime", ["torch", "compiled"])
def test_clients_keep_their_control_variates_on_a_real_runtime(tmp_path, runtime):
    """The samples of each client are of other classes, so that corrections matter."""
    job = {"runtime": runtime, "model": "mlp", "partition": "shards:2", "learning_rate": 0.2}
    plain = losses(tmp_path, "fedavg", **job)
    corrected = losses(tmp_path, "scaffold", **job)
    # Nothing is kept yet.
    assert corrected[0] == pytest.approx(plain[0], rel=1e-5)
    assert corrected[1] != pytest.approx(plain[1], rel=1e-3)
