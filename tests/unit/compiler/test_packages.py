"""Which of a platform's Pythons compiled actions run on, and that the library runs on each."""

import importlib.metadata
import io
import zipfile
from dataclasses import replace

import pytest
import vermin

import disdel
from disdel.compiler import packages
from disdel.compiler.packages import STOCK_PYTHONS, stock_python
from disdel.controller.invoking.bundle import build_bundle, library
from disdel.errors import UsageError
from disdel.platforms.parts import parts_of
from disdel.protocol.calls import library_digest


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (("nodejs:20", "python:3.10", "python:3.11", "python:3.12"), "3.11"),
        (("python:3.10", "python:3"), "3.10"),
        ((), "3.11"),
    ],
)
def test_the_best_python_of_a_platform_is_taken(kinds, found):
    assert stock_python(kinds) == found


def test_a_platform_without_one_is_told_what_it_has_and_what_is_needed():
    with pytest.raises(
        UsageError, match=r"run on python:3.11 or python:3.10, .* are python:3, python:3.9: add one"
    ):
        stock_python(("python:3.9", "go:1.20", "python:3"))


def test_a_numpy_that_is_too_new_for_an_older_python_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(packages, "own_python", lambda: "3.13")
    versions = dict.fromkeys(packages.DISTRIBUTIONS, "2.0")
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    versions["numpy"] = "2.10.0"
    assert "numpy==2.4.6" in packages.pins("3.11")
    assert "numpy==2.10.0" in packages.pins("3.13")
    versions["numpy"] = "2.1.3"
    assert "numpy==2.1.3" in packages.pins("3.11")


def test_the_packages_say_what_they_are(monkeypatch):
    python, files = packages.own_python(), {"numpy/__init__.py": b"", "iree/runtime/a.so": b""}
    monkeypatch.setattr(packages, "_packages", lambda *_: files)
    built = packages._build(library(), python, ["x86_64"], None)
    carried = parts_of(build_bundle("train", packages=built)).carried
    assert [f"{name}=={version}" for name, version in carried.versions.items()] == (
        packages.pins(python)
    )
    assert (carried.machines, carried.folders) == (("x86_64",), ("iree", "numpy"))
    assert carried.library == library_digest(library().items())


def test_packages_that_are_there_already_are_named_and_not_packed(monkeypatch):
    python, files = packages.own_python(), {"numpy/__init__.py": b"", "iree/runtime/a.so": b""}
    monkeypatch.setattr(packages, "_packages", lambda *_: files)
    built = packages._build(library(), python, ["x86_64"], None)
    monkeypatch.setattr(packages, "_packages", None)
    named = packages.facts_zip(library(), python, ["x86_64"])
    own = {"program/program.json": b"{}"}
    whole, told = (
        parts_of(build_bundle("train", packages=each, files=own)) for each in (built, named)
    )
    # A function gets the same of both.
    assert (told.own, told.library) == (whole.own, whole.library)
    assert replace(told.carried, folders=whole.carried.folders) == whole.carried
    assert len(named) < 2048


def test_the_packages_say_which_disdel_they_are_of_and_refuse_another_machine(monkeypatch):
    monkeypatch.setattr(packages, "_packages", lambda *_: {})

    def front_door(machines):
        built = packages._build(library(), packages.own_python(), machines, None)
        with zipfile.ZipFile(io.BytesIO(built)) as archive:
            return archive.read("disdel/__init__.py").decode()

    names = {}
    exec(front_door(None), names)
    assert names["__version__"] == disdel.__version__
    # By which a probe leaves out what would end it.
    assert names["WITHOUT_BLAS"]
    with pytest.raises(ImportError, match="the packages of the action are for sparc64"):
        exec(front_door(["sparc64"]), {})


@pytest.mark.parametrize("path", sorted(path for path in library() if path.endswith(".py")))
def test_the_library_runs_on_the_oldest(path):
    """By what its sources use of the language and of the standard library."""
    config = vermin.Config()
    config.set_eval_annotations(False)
    oldest = min(tuple(map(int, version.split("."))) for version in STOCK_PYTHONS)
    needed = vermin.detect(library()[path].decode(), config=config, path=path)
    assert all(version <= oldest for version in needed if version and version[0] == 3), needed
