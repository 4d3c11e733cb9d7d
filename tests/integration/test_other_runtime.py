"""A training and an inference on a runtime of which nothing outside of its own file knows."""

import numpy as np
import pytest

import disdel
from disdel.errors import UsageError
from disdel.jobs import run_plan
from disdel.runtimes.registry import registered
from disdel.settings import Settings
from disdel.types import TrainJob
from tests.support.numpy_runtime import NUMPY

JOB = {"epochs": 3, "workers": 2, "runtime": "numpy", "model": "mlp", "optimizer": "sgd"}


@pytest.fixture(autouse=True)
def _registered(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    with registered(NUMPY):
        yield


def test_digits_are_trained_and_evaluated_there(tmp_path):
    trained = disdel.train("digits", **JOB, learning_rate=0.2, run_dir=tmp_path / "runs")
    report = trained.report
    assert (report.status, report.settings["runtime"], report.totals.failed) == ("ok", "numpy", 0)
    assert report.accuracy > 0.8
    assert report.plan.memory_mb <= 128
    assert trained.model_path.suffix == ".npz"
    spec, tensors = trained.model
    assert spec.name == "mlp"
    assert all(np.isfinite(value).all() for value in tensors.values())
    # The same model on the same samples.
    assert trained.evaluate().accuracy == pytest.approx(report.accuracy)


def test_plans_are_made_of_its_costs_and_auto_leaves_it():
    assert run_plan(TrainJob(dataset="digits", **JOB), Settings()).plan.runtime == "numpy"
    offered = {
        option.runtime
        for option in run_plan(TrainJob(dataset="digits"), Settings()).plan.considered
    }
    assert "numpy" not in offered


def test_what_it_cannot_do_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--runtime numpy computes in float32, not bfloat16"):
        run_plan(TrainJob(dataset="digits", **JOB, precision="bfloat16"), Settings())
    with pytest.raises(
        disdel.errors.DisdelError, match="takes dense networks for classes, not Conv2D"
    ):
        disdel.train("digits", **{**JOB, "model": "cnn"}, run_dir=tmp_path / "runs")
