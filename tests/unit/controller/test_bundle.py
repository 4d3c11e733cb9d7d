import ast
import contextlib
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import disdel.types
from disdel.controller.invoking import bundle
from disdel.controller.invoking.bundle import build_bundle, check_code, library
from disdel.errors import UsageError
from disdel.platforms.calls import UNKNOWN
from disdel.platforms.parts import parts_of
from disdel.protocol.calls import OF_ONE_ACTION


def modules_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("action", ["train", "collectWeights", "evaluate", "flowerClient"])
def test_a_bundle_holds_every_module_that_it_imports(action):
    members = modules_of(build_bundle(action))
    assert "__main__.py" in members
    for name, source in members.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("disdel"):
                path = node.module.replace(".", "/")
                targets = {f"{path}.py", f"{path}/__init__.py"}
                assert targets & members.keys(), f"{name} imports {node.module}"


def test_the_same_sources_make_the_same_bytes():
    assert build_bundle("train") == build_bundle("train")


def test_a_bundle_is_small_and_has_no_controller():
    data = build_bundle("train")
    # Each cold container reads it, so what grows it is worth a look: does an action run it?
    assert len(data) < 295_000
    assert not any("controller" in name or "embedded" in name for name in modules_of(data))


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ({"own_code_bytes": 100_000}, None),
        ({"own_code_bytes": 100}, r"0.0 MB of the run's own, zipped, .* in a request"),
        # Platforms of both kinds at once.
        ({"own_code_bytes": 100_000, "code_bytes": 100_000}, r"the action is a zip of 0.\d MB"),
    ],
)
def test_where_the_library_is_already_a_runs_own_part_must_fit(limits, refused):
    capacity = replace(UNKNOWN, **limits)
    code = build_bundle("train", files={"program/one": bytes(1000)})
    assert len(code) > 100_000
    with pytest.raises(UsageError, match=refused) if refused else contextlib.nullcontext():
        check_code("the action", code, capacity)


def test_every_action_folder_can_be_bundled():
    folders = [p for p in Path("actions").iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert {folder.name for folder in folders} == {
        *("train", "collectWeights", "evaluate", "node", "flowerClient")
    }


def test_facts_are_imported_from_their_own_modules():
    # What `disdel.types` gathers for others, an action would read for nothing at each cold start.
    odd = {
        name
        for name, source in library().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "disdel.types"
    }
    assert not odd


def test_all_that_the_library_gathers_is_found_in_a_bundle():
    front = library()["disdel/types/__init__.py"].decode()
    names = {"__name__": "disdel.types"}
    exec(front, names)
    for name in disdel.types.__all__:
        assert names["__getattr__"](name) is getattr(disdel.types, name)
    with pytest.raises(AttributeError):
        names["__getattr__"]("Nothing")


def test_what_one_action_alone_has_comes_with_its_code_where_the_library_is_deployed():
    assert {name for names in bundle._OWN.values() for name in names} == OF_ONE_ACTION
    [flower, train] = (parts_of(build_bundle(name)) for name in ("flowerClient", "train"))
    assert flower.library == train.library
    with zipfile.ZipFile(io.BytesIO(flower.own)) as archive:
        assert set(archive.namelist()) == {"__main__.py", *OF_ONE_ACTION}


@pytest.mark.parametrize(
    ("action", "unread"),
    [
        ("train", ["types.job", "types.learning", "worker.evaluate", "worker.clients"]),
        ("collectWeights", ["types.job", "runtimes", "worker.train", "worker.evaluate"]),
        ("evaluate", ["types.job", "worker.train", "worker.collect"]),
    ],
)
def test_a_cold_start_reads_what_its_action_needs(tmp_path, action, unread):
    with zipfile.ZipFile(io.BytesIO(build_bundle(action))) as archive:
        archive.extractall(tmp_path)
    told = "import runpy, sys; runpy.run_path('__main__.py'); print(*sys.modules)"
    command = [sys.executable, "-c", told]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    read = set(done.stdout.split())
    assert "disdel.worker.tasks" in read
    assert not read & {f"disdel.{name}" for name in unread}


# What numpy computes by its BLAS, which that of a compiled action has not: the process would end.
BLAS = {"dot", "vdot", "inner", "matmul", "tensordot", "linalg", "convolve", "correlate"}
# Parts of numpy that are left out, too, and functions that import them.
PARTS = {"ma", "fft", "polynomial", "ctypeslib", "median", "percentile", "quantile"}
# These run beside a framework alone, or look whether there is a BLAS.
NOT_COMPILED = ("disdel/models/", "disdel/runtimes/keras/", "disdel/runtimes/torch/")
LOOKS = ("disdel/worker/probe.py",)


def test_what_runs_beside_a_compiled_network_needs_no_more_of_numpy_than_there_is():
    for name, source in modules_of(build_bundle("train")).items():
        if name.startswith(NOT_COMPILED) or name in LOOKS:
            continue
        for node in ast.walk(ast.parse(source)):
            named = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "np"
            assert not (named and node.attr in BLAS | PARTS), f"{name}, line {node.lineno}"
            if isinstance(node, ast.BinOp):
                assert not isinstance(node.op, ast.MatMult), f"{name}, line {node.lineno}"
