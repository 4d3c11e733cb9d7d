"""The registry of runtimes, and what stands elsewhere about them."""

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest

from disdel.errors import UsageError
from disdel.runtimes.registry import (
    COMPILED,
    TENSORFLOW,
    all_runtimes,
    check_runtime,
    register,
    registered,
    runtime_named,
    runtime_of,
)
from disdel.runtimes.runtime import Networks
from disdel.types import TrainJob
from disdel.types.checks import setting_of
from openwhisk_local.containers.images import _BLACKBOXES
from openwhisk_local.machine import allocator
from tests.support.numpy_runtime import NUMPY
from tests.unit.test_light_imports import FRAMEWORKS, modules_after


def test_the_registry_and_networks_load_no_framework():
    loaded = modules_after(
        "from disdel.runtimes.registry import all_runtimes\n"
        "for runtime in all_runtimes(): runtime.load_networks()"
    )
    assert not loaded & {*FRAMEWORKS, "iree"}


@pytest.mark.parametrize("runtime", [*all_runtimes(), NUMPY], ids=lambda runtime: runtime.name)
def test_a_runtime_offers_the_networks_that_it_says(runtime):
    offered = {"build_trainer"}
    if runtime.opens_models:
        offered |= {"load_predictor", "load_model", "look_at"}
    assert offered <= {name for name in vars(Networks) if not name.startswith("_")}
    networks = runtime.load_networks()
    assert all(callable(getattr(networks, name)) for name in offered)
    assert bool(runtime.described_by) == (runtime.users is not None)


def test_an_unknown_runtime_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match=r"'torhc' .did you mean 'torch'.*tensorflow, torch, comp"):
        runtime_named("torhc")
    with pytest.raises(LookupError):
        runtime_of(Path("model.onnx"))


def test_a_runtime_is_refused_for_a_precision_that_it_does_not_compute_in():
    told = "--runtime compiled computes in float32, not bfloat16: take --runtime tensorflow or t"
    with pytest.raises(UsageError, match=told):
        check_runtime("compiled", "bfloat16")
    check_runtime(None, "bfloat16")
    check_runtime("torch", "bfloat16")


def test_a_name_is_given_once():
    other = replace(TENSORFLOW, image="another")
    with pytest.raises(ValueError, match="a runtime tensorflow already"):
        register(other)
    assert runtime_named("tensorflow") is TENSORFLOW
    fresh = replace(COMPILED, costs=replace(COMPILED.costs, name="another"))
    with registered(fresh):
        assert runtime_named("another") is fresh
    assert fresh not in all_runtimes()


def test_the_help_of_the_option_names_all():
    said = setting_of(get_type_hints(TrainJob, include_extras=True)["runtime"]).help
    assert all(runtime.name in said for runtime in all_runtimes())


@pytest.mark.parametrize(
    "runtime", [one for one in all_runtimes() if one.image], ids=lambda runtime: runtime.name
)
def test_images_have_the_environment_of_their_runtime(runtime):
    """The embedded platform's table and the image's file, which can import nothing of ours."""
    embedded = _BLACKBOXES[f"disdel/{runtime.image}"].env
    dockerfile = Path("runtime-image/Dockerfile").read_text()
    for name, value in runtime.environment.items():
        assert embedded[name] == value
        assert re.search(rf"\b{name}={value}\b", dockerfile), name
    assert runtime.imports in embedded["DISDEL_PREIMPORT"].split(",")
    assert ",".join(runtime.not_in_image) == embedded.get("DISDEL_PREIMPORT_WITHOUT", "")


@pytest.mark.parametrize("present", [False, True])
def test_a_framework_is_imported_without_what_its_image_lacks(tmp_path, monkeypatch, present):
    (tmp_path / "taken_along.py").write_text("")
    (tmp_path / "a_framework.py").write_text(
        "try: import taken_along\nexcept ImportError: taken_along = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(allocator, "collect_rarely", lambda: None)
    for name in ("taken_along", "a_framework"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if present:
        importlib.import_module("taken_along")
    replace(TENSORFLOW, imports="a_framework", not_in_image=("taken_along",)).import_as_in_image()
    assert (sys.modules["a_framework"].taken_along is not None) == present
    # Who wants it may have it all the same.
    assert importlib.import_module("taken_along") is sys.modules["taken_along"]
