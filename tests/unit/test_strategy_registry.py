"""Strategies by name, and on their way to the actions."""

import sys
import types
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from disdel.controller.invoking.bundle import build_bundle
from disdel.errors import UsageError
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import (
    files_of,
    parameters_of,
    register,
    strategy_named,
    strategy_of,
)
from disdel.types import TrainJob
from tests.support import strategies


def test_a_strategy_is_made_again_of_its_name_and_parameters():
    made = strategies.ServerMomentum(average="equal", beta=0.25)
    assert strategy_named(made.name, parameters_of(made)) == made


def test_a_job_s_strategy_has_the_job_s_weights():
    assert strategy_of(TrainJob(dataset="digits", average="equal")) == FedAvg(average="equal")


def test_two_classes_of_one_name_are_a_mistake_of_who_wrote_them():
    with pytest.raises(AssertionError, match="are both called fedavg"):
        register(type("Other", (FedAvg,), {}))


def test_what_disdel_has_is_in_every_bundle_already():
    assert files_of(FedAvg()) == {}
    names = zipfile.ZipFile(BytesIO(build_bundle("collectWeights"))).namelist()
    assert {"disdel/strategies/fedavg.py", "disdel/strategies/registry.py"} <= set(names)


def test_another_travels_as_the_file_of_its_module():
    file = Path(strategies.__file__)
    found = files_of(strategies.ServerMomentum())
    assert found == {"disdel/strategies/strategies.py": file.read_bytes()}


def test_one_that_is_in_no_file_cannot_travel(monkeypatch):
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))
    typed_in = dataclass(frozen=True)(type("TypedIn", (FedAvg,), {"__module__": "typed_in"}))
    with pytest.raises(UsageError, match="put TypedIn into a module"):
        files_of(typed_in())
