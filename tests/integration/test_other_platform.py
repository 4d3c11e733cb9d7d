"""A training on a platform of which nothing outside of its own folder knows."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import disdel
from disdel.controller.planning.history import history_of
from disdel.errors import InsufficientMemory, UsageError
from disdel.jobs import plan_costs, run_plan
from disdel.platforms import registry
from disdel.runtimes.registry import TORCH
from disdel.settings import Settings
from disdel.types import TrainJob
from tests.support import process_platform
from tests.support.process_platform import limits
from tests.support.process_platform.limits import PRICES
from tests.support.process_platform.provider import PROVIDER
from tests.support.processes import seen

JOB = TrainJob(dataset="digits", epochs=2, workers=2, runtime="torch")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    registry.register(PROVIDER)
    yield Settings(platform=PROVIDER.name, run_dir=tmp_path / "runs")
    registry.forget(PROVIDER)


def processes():
    """Those of this one that serve actions there."""
    script = str(Path(process_platform.__path__[0]) / "container.py")
    commands = seen(psutil.Process().children(recursive=True), psutil.Process.cmdline)
    return [command for command in commands if script in command]


@pytest.mark.framework
def test_a_training_runs_there(settings):
    told = []
    trained = disdel.train(
        "digits", epochs=2, workers=2, runtime="torch", settings=settings, listener=told.append
    )
    report = trained.report
    assert (report.status, report.platform, report.totals.failed) == ("ok", "processes", 0)
    assert report.accuracy > 0.5
    assert report.totals.containers == 3
    assert not processes()
    # What its containers took is remembered for it alone.
    assert history_of(TORCH, settings).read()
    assert history_of(TORCH, settings) != history_of(TORCH, Settings())


def test_plans_keep_its_limits_at_its_prices(settings, monkeypatch):
    plan = run_plan(JOB, settings).plan
    [cost] = plan_costs(plan, settings)
    assert cost.provider == PRICES[0].provider
    monkeypatch.setenv("DISDEL_PROCESSES_MEMORY_MAX", "128")
    named = r"128 MB is the limit.*memory limit to \d+ MB \(--platform-option memory_max\)"
    with pytest.raises(InsufficientMemory, match=named):
        run_plan(JOB, settings)
    monkeypatch.setenv("DISDEL_PROCESSES_MEMORY_MAX", "12")
    with pytest.raises(UsageError, match=r"DISDEL_PROCESSES_MEMORY_MAX must .* at least 128"):
        run_plan(JOB, settings)


def test_its_options_are_given_by_name(settings, monkeypatch):
    monkeypatch.setenv("DISDEL_PROCESSES_MEMORY_MAX", "1024")
    small = replace(settings, platform_options=("memory-max=128",))
    with pytest.raises(InsufficientMemory, match="128 MB is the limit"):
        run_plan(JOB, small)


def test_code_beyond_its_limit_is_refused_before_anything_runs(settings, monkeypatch):
    monkeypatch.setattr(limits, "CODE_BYTES", 10_000)
    with pytest.raises(UsageError, match=r"a zip of .* this platform takes 0\.0 MB"):
        disdel.train("digits", epochs=1, runtime="torch", settings=settings)
    assert not settings.run_dir.exists()


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(settings):
    known = r"--platform lamda: .* only embedded and .*lambda and openwhisk and processes"
    with pytest.raises(UsageError, match=known):
        run_plan(JOB, Settings(platform="lamda"))
