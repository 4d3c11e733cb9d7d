"""Strategies by name, and on their way to the actions."""

import re
import sys
import types
import typing
import zipfile
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pytest

import disdel
from disdel.controller.federating.privacy import why_not_sums
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.training.terms import step_terms
from disdel.errors import StrategyFailed, UsageError
from disdel.protocol.keys import RunKeys
from disdel.strategies import own
from disdel.strategies.asking import (
    files_of,
    in_words,
    name_of,
    parameters_of,
    strategy_of,
    strategy_said,
    text_of,
)
from disdel.strategies.base import Terms
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import class_named, register, strategy_named, strategy_names
from disdel.types import FederateJob, TrainJob
from disdel.types.checks import setting_of
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


@pytest.mark.parametrize(
    "text",
    ["fedprox:mu=0.5", "multi-krum:f=2,keep=none", "fedasync:decay=hinge", "trimmed-mean:0.3"],
)
def test_a_strategy_is_written_with_all_its_parameters(text):
    made = strategy_said(text)
    assert strategy_said(text_of(made)) == made


@pytest.mark.parametrize("text", ["median", "trimmed-mean", "krum", "fedasync"])
def test_weights_are_not_asked_for_where_nothing_looks_at_them(text):
    with pytest.raises(UsageError, match=f"strategy {text} looks at no weights"):
        strategy_of(FederateJob(dataset="digits", strategy=text, average="epochs"))
    for average in ("samples", "equal"):
        strategy_of(FederateJob(dataset="digits", strategy=text, average=average))


def test_every_strategy_has_its_paper_and_its_parameters_in_words():
    for name in strategy_names():
        kind = class_named(name)
        if not kind.__module__.startswith("disdel."):
            continue
        assert re.search("https://", sys.modules[kind.__module__].__doc__), name
        hints = typing.get_type_hints(kind, include_extras=True)
        own = {field.name for field in fields(kind)} - {"average"}
        told = {n for n in own if setting_of(hints[n]) or typing.get_origin(hints[n])}
        assert own == told, name


def test_classes_are_found_in_the_library_s_front():
    front = disdel.strategies
    assert set(front.__all__) <= set(dir(front))
    for name in front.__all__:
        assert getattr(front, name).__name__ == name
    named = {class_named(name) for name in strategy_names()}
    ours = {kind for kind in named if kind.__module__.startswith("disdel.")}
    assert {kind.__name__ for kind in ours} <= set(front.__all__)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": disdel.strategies.FedProx(mu=0.5)}, ("fedprox:mu=0.5", "samples")),
        ({"strategy": disdel.strategies.Median(average="equal")}, ("median", "equal")),
        ({"strategy": FedAvg(), "average": "epochs"}, ("fedavg", "epochs")),
        ({"strategy": "fedprox"}, ("fedprox", None)),
    ],
)
def test_a_program_gives_a_strategy_as_an_object(options, said):
    found = in_words(options)
    assert (found["strategy"], found.get("average")) == said


def test_a_program_gives_an_outer_optimizer_as_an_object():
    found = in_words({"outer": disdel.strategies.Nesterov(lr=0.5, average="equal")})
    assert found == {"outer": "nesterov:lr=0.5,momentum=0.9", "average": "equal"}
    assert in_words({"outer": None, "strategy": "fedavg"}) == {"outer": None, "strategy": "fedavg"}


def test_a_program_does_not_say_two_weights():
    with pytest.raises(UsageError, match="average='samples' is not what the strategy has"):
        in_words({"strategy": FedAvg(average="equal"), "average": "samples"})


@pytest.mark.parametrize("option", ["strategy", "outer"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (FedAvg, r"=FedAvg is a class: give an object of it, as \w+=FedAvg\(\)"),
        (str, r" must be a text, or an object of a class of disdel.strategies, not <class 'str'>"),
        (3, " must be a text, or an object of a class of disdel.strategies, not 3"),
    ],
)
def test_what_is_no_strategy_is_refused_with_what_is_one(option, given, told):
    with pytest.raises(UsageError, match=f"{option}{told}"):
        in_words({option: given})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"mu": -0.5}, "mu of strategy fedprox must be from 0 to 1e.06, not -0.5"),
        ({"mu": "much"}, "mu of strategy fedprox must be a number, not 'much'"),
        ({"mu": float("nan")}, "mu of strategy fedprox must be"),
        ({"mu": True}, "mu of strategy fedprox must be a number, not True"),
        ({"average": "most"}, "average of strategy fedprox must be samples or equal or epochs"),
    ],
)
def test_parameters_are_checked_in_python_too(parameters, told):
    with pytest.raises(UsageError, match=told):
        disdel.strategies.FedProx(**parameters)


@pytest.mark.parametrize("name", ["FedAdagrad", "FedAdam", "FedYogi"])
def test_a_moment_that_never_moves_is_refused(name):
    kind = getattr(disdel.strategies, name)
    with pytest.raises(UsageError, match=r"beta_1 .* must be at least 0 and below 1, not 1"):
        kind(beta_1=1)
    assert kind(beta_1=0.999).beta_1 == 0.999
    if hasattr(kind(), "beta_2"):
        with pytest.raises(UsageError, match=r"beta_2 .* must be at least 0 and below 1, not 1"):
            kind(beta_2=1)


OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated
from disdel.strategies import FedAvg, Strategy
from disdel.types.setting import Setting

@dataclass(frozen=True)
class Mine(FedAvg):
    size: Annotated[int, Setting("Of it.", low=1)] = 3

    def advance(self, block):
        return super().advance(block)

class Lacking(Strategy):
    pass

class NoStrategy:
    pass

def function():
    pass
"""


@pytest.fixture
def own_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_file_of_the_users_is_unpacked_where_an_action_finds_it(own_file, tmp_path, monkeypatch):
    made = strategy_said(f"{own_file}:Mine:size=5")
    assert (made.size, made.name) == (5, "Mine")
    for name, data in files_of(made).items():
        place = tmp_path / "bundle" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    own_file.unlink()
    monkeypatch.setattr(own, "_HERE", tmp_path / "bundle" / own.FOLDER)
    monkeypatch.setattr(own, "_CLASSES", {})
    again = strategy_named(name_of(made), parameters_of(made))
    assert (again.size, type(again).__name__) == (5, "Mine")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (":Mine:size=0", "size must be at least 1, not 0"),
        (":Mine:sizes=0", r"no parameter sizes \(did you mean size\?\)"),
        (":Nothing", "own.py has no class Nothing"),
        (":NoStrategy", "NoStrategy is no strategy; it must be a class derived from"),
        (":function", "function is no strategy"),
        (":Lacking", "Lacking lacks participants and weight; FedAvg has them"),
        ("", "names no function"),
    ],
)
def test_what_is_no_strategy_is_refused(own_file, entry, told):
    with pytest.raises(UsageError, match=told):
        strategy_said(f"{own_file}{entry}")


def test_a_file_that_fails_is_refused_with_its_line(tmp_path):
    (tmp_path / "own.py").write_text("import numpy\n1 / 0\n")
    with pytest.raises(UsageError, match=r"own\.py, line 2, `1 / 0`: ZeroDivisionError"):
        strategy_said(f"{tmp_path}/own.py:Mine")
    with pytest.raises(UsageError, match="there is no file"):
        strategy_said(f"{tmp_path}/nothing.py:Mine")
    with pytest.raises(UsageError, match="is one of disdel's: say --strategy fedavg"):
        strategy_said("disdel.strategies.fedavg:FedAvg")


def test_the_docs_list_every_strategy_with_its_parameters():
    page = (Path(__file__).parents[3] / "docs/strategies.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z][a-z-]+)` \| (.*)$", page, re.MULTILINE))
    ours = {
        name: kind
        for name in strategy_names()
        if (kind := class_named(name)).__module__.startswith("disdel.")
    }
    assert rows.keys() == ours.keys()
    for name, kind in ours.items():
        assert f"`{kind.__name__}`" in rows[name]
        told = set(re.findall(r"`([a-z_0-9]+)(?:=[^`]*)?`", rows[name]))
        assert {field.name for field in fields(kind)} - {"average"} <= told, name
        is_private = "yes" if why_not_sums(kind()) is None else "no"
        assert rows[name].endswith(f"| {is_private} |"), name
        assert rows[name].endswith("| yes | no | no |") == kind.sees_each


def test_the_range_of_a_parameter_that_may_be_left_out_is_that_of_its_numbers():
    with pytest.raises(UsageError, match="keep must be a whole number from 1 to 10000 or none"):
        strategy_said("multi-krum:keep=x")


@pytest.mark.parametrize("command", ["train", "federate"])
def test_a_program_may_give_either_command_a_strategy_as_an_object(command, monkeypatch):
    asked = []
    monkeypatch.setattr(
        f"disdel.api.run_{command}", lambda job, *_: asked.append(job) or (None, None)
    )
    with pytest.raises(AttributeError):  # There is no run, so it has no folder.
        getattr(disdel, command)("digits", strategy=disdel.strategies.TrimmedMean(beta=0.25))
    assert asked[0].strategy == "trimmed-mean:beta=0.25"
