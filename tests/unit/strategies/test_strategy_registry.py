"""Strategies by name, and on their way to the actions."""

import sys
import types
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pytest

from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.training.terms import step_terms
from disdel.errors import StrategyFailed, UsageError
from disdel.protocol.keys import RunKeys
from disdel.strategies.base import Terms
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


def test_two_classes_of_one_name_are_refused_and_one_may_be_defined_again():
    with pytest.raises(UsageError, match="are both strategies of the name fedavg"):
        register(type("Other", (FedAvg,), {}))
    again = type("FedProx", (FedAvg,), {"__module__": strategies.__name__, "name": "test-fedprox"})
    try:
        assert strategy_named(register(again).name, {}) == again()
    finally:
        register(strategies.FedProx)


@dataclass(frozen=True)
class Odd(FedAvg):
    name = "odd"
    kept: ClassVar = {"momentum": 0.0}
    given: Terms | None = None

    def terms(self):
        return self.given


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        (Terms(correction="drift"), "corrects gradients by 'drift', and keeps momentum"),
        (Terms(proximal=-1.0), "a proximal term of -1.0"),
        (Terms(proximal=float("nan")), "a proximal term of nan"),
    ],
)
def test_terms_that_are_none_are_refused(terms, told):
    with pytest.raises(StrategyFailed, match=told):
        step_terms(Odd(given=terms), RunKeys("r"), 1)


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
