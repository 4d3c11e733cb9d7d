"""The memory of a framework's build that the shipped figures are not of."""

import importlib.metadata
from dataclasses import replace

import pytest

from disdel.controller.planning import floors
from disdel.controller.planning.floors import shipped_costs
from disdel.runtimes.registry import TENSORFLOW, TORCH, registered
from disdel.settings import Settings
from tests.support.numpy_runtime import NUMPY


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("installed", "runtime", "measured"),
    [
        ({"torch": "2.13.0+cpu"}, TORCH, True),
        ({"torch": "2.13.0+cu130"}, TORCH, False),
        # Of the default index, where it is for CUDA.
        ({"torch": "2.13.0"}, TORCH, False),
        ({"tensorflow-cpu": "2.21.0"}, TENSORFLOW, True),
        ({"tensorflow": "2.21.0"}, TENSORFLOW, False),
        ({}, NUMPY, True),
    ],
)
def test_the_build_that_was_measured_is_told_by_its_version(
    monkeypatch, installed, runtime, measured
):
    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert runtime.has_measured_build() is measured


@pytest.fixture
def other_build():
    """A runtime whose import takes more than its figures say; numpy stands for a framework."""
    small = replace(NUMPY.costs, name="tiny", anonymous_mb=8, mapped_mb=1)
    runtime = replace(
        NUMPY, costs=small, measured_build="numpy+small", networks="tests.support.numpy_runtime"
    )
    with registered(runtime):
        yield runtime


def test_another_build_is_measured_once_and_kept(other_build, monkeypatch):
    calls, run = [], floors.run_helper

    def counted(command, **options):
        calls.append(command[-1])
        # A process of its own knows the shipped runtimes alone.
        return run([*command[:-1], "compiled"], **options)

    monkeypatch.setattr(floors, "run_helper", counted)
    first = shipped_costs(other_build, Settings())
    assert first.anonymous_mb > other_build.costs.anonymous_mb + 10
    assert first.mapped_mb > other_build.costs.mapped_mb
    assert shipped_costs(other_build, Settings()) == first
    assert calls == ["tiny"]


def test_a_build_that_cannot_be_imported_keeps_the_shipped_floor(other_build):
    # The helper's process does not know its name.
    assert shipped_costs(other_build, Settings()) == other_build.costs


def test_a_measured_build_and_a_cluster_are_not_measured(other_build, monkeypatch):
    monkeypatch.setattr(floors, "run_helper", None)
    same = replace(other_build, measured_build="numpy")
    assert shipped_costs(same, Settings()) == same.costs
    there = Settings(apihost="http://127.0.0.1:1", auth="user:key")
    assert shipped_costs(other_build, there) == other_build.costs
