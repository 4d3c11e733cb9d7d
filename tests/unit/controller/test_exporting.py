"""The folder that another platform's tool deploys."""

import json
import tomllib
from pathlib import Path

import pytest

from disdel.compiler.packages import pins
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.exporting import IMPORTED, export
from disdel.errors import UsageError
from disdel.platforms.http.exported import TARGETS, Limits
from disdel.platforms.parts import parts_of
from disdel.protocol.calls import DEPLOYED
from disdel.runtimes.registry import COMPILED, TORCH

LIMITS = Limits(memory_mb=512, timeout_s=30, instances=3)


@pytest.mark.parametrize("platform", TARGETS)
def test_it_has_the_library_that_actions_are_made_with(tmp_path, platform):
    files = export(platform, tmp_path / "new", LIMITS, TORCH)
    assert {tmp_path / "new" / file for file in files} == {
        path for path in (tmp_path / "new").rglob("*") if path.is_file()
    }
    root = tmp_path / "new" / TARGETS[platform].root
    facts = json.loads((root / DEPLOYED).read_text())
    assert facts["library"] == parts_of(build_bundle("train")).library
    assert (facts["timeout_s"], facts["instances"], facts["instance_mb"]) == (30, 3, 512)
    for name in ("call", "http_function", "answering", "containers", "container"):
        assert (root / f"disdel/entry/{name}.py").is_file()


def test_what_it_requires_is_what_images_have():
    listed = Path("runtime-image/requirements/none.txt").read_text().splitlines()
    assert {*IMPORTED} == {line for line in listed if line and not line.startswith("#")}


def test_knatives_tool_reads_its_requirements(tmp_path):
    export("knative", tmp_path / "new", LIMITS, TORCH)
    project = tomllib.loads((tmp_path / "new/pyproject.toml").read_text())["project"]
    assert project["name"] == "function"
    assert [text.partition("==")[0] for text in project["dependencies"]] == [*IMPORTED, "torch"]


def test_for_compiled_networks_it_requires_what_their_actions_carry_elsewhere(tmp_path):
    export("functions-framework", tmp_path, LIMITS, COMPILED)
    required = (tmp_path / "requirements.txt").read_text().splitlines()
    assert {*pins("3.11")} <= {*required}
    assert {*IMPORTED} <= {line.partition("==")[0] for line in required}


def test_it_is_written_anew_and_nothing_else_is_touched(tmp_path):
    export("functions-framework", tmp_path, LIMITS, TORCH)
    (tmp_path / "disdel/gone.py").write_text("")
    (tmp_path / "mine.txt").write_text("kept")
    export("functions-framework", tmp_path, LIMITS, TORCH)
    assert not (tmp_path / "disdel/gone.py").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/main.py").write_text("mine")
    with pytest.raises(UsageError, match=r"has other files in it, such as main.py"):
        export("functions-framework", tmp_path / "other", LIMITS, TORCH)
    # A folder below that was written before makes this one no such folder; nor does another tool's.
    (tmp_path / "other/function").mkdir()
    export("functions-framework", tmp_path / "other/function", LIMITS, TORCH)
    with pytest.raises(UsageError, match=r"has other files in it, such as function"):
        export("functions-framework", tmp_path / "other", LIMITS, TORCH)
    assert (tmp_path / "other/function/disdel").is_dir()
    with pytest.raises(UsageError, match=r"has other files in it"):
        export("knative", tmp_path / "other/function", LIMITS, TORCH)
    with pytest.raises(UsageError, match="cannot be written"):
        export("functions-framework", tmp_path / "mine.txt", LIMITS, TORCH)
