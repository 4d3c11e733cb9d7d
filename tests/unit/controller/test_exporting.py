"""The folder that another platform's tool deploys."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from disdel.compiler.packages import own_python, pins
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.exporting import IMPORTED, TARGETS, export
from disdel.errors import UsageError
from disdel.platforms.exported import Limits
from disdel.platforms.parts import parts_of
from disdel.protocol.calls import DEPLOYED
from disdel.runtimes.registry import COMPILED, TORCH
from tests.support.lambda_emulator.image import images_of

LIMITS = Limits(memory_mb=512, timeout_s=30, instances=3)


@pytest.mark.parametrize("platform", TARGETS)
def test_it_has_the_library_that_actions_are_made_with(tmp_path, platform):
    limits = LIMITS if TARGETS[platform].has_limits else None
    files = export(platform, tmp_path / "new", TORCH, limits)
    assert {tmp_path / "new" / file for file in files} == {
        path for path in (tmp_path / "new").rglob("*") if path.is_file()
    }
    root = tmp_path / "new" / TARGETS[platform].root
    facts = json.loads((root / DEPLOYED).read_text())
    assert facts["library"] == parts_of(build_bundle("train")).library
    told = [facts.get(name) for name in ("timeout_s", "instances", "instance_mb")]
    assert told == ([30, 3, 512] if limits else [None] * 3)
    for name in ("call", "lambda_image", "http_function", "answering", "containers", "container"):
        assert (root / f"disdel/entry/{name}.py").is_file()


def test_what_it_requires_is_what_images_have():
    listed = Path("runtime-image/requirements/none.txt").read_text().splitlines()
    assert {*IMPORTED} == {line for line in listed if line and not line.startswith("#")}


def test_knatives_tool_reads_its_requirements(tmp_path):
    export("knative", tmp_path / "new", TORCH, LIMITS)
    project = tomllib.loads((tmp_path / "new/pyproject.toml").read_text())["project"]
    assert project["name"] == "function"
    assert [text.partition("==")[0] for text in project["dependencies"]] == [*IMPORTED, "torch"]


def test_for_compiled_networks_it_requires_what_their_actions_carry_elsewhere(tmp_path):
    export("functions-framework", tmp_path, COMPILED, LIMITS)
    required = (tmp_path / "requirements.txt").read_text().splitlines()
    assert {*pins("3.11")} <= {*required}
    assert {*IMPORTED} <= {line.partition("==")[0] for line in required}


def test_of_images_each_has_what_its_actions_import(tmp_path):
    export("lambda", tmp_path / "torch", TORCH, None)
    dockerfile = (tmp_path / "torch/Dockerfile").read_text()
    assert f"python:{own_python()}-slim" in dockerfile
    images = images_of(tmp_path / "torch", tmp_path)
    base, own = images["runtime-base"], images["runtime-torch"]
    assert list(images) == ["runtime-base", "runtime-torch"]
    assert "GOMP_SPINCOUNT" in own.environment.keys() - base.environment.keys()

    def packages(image):
        text = "".join((image.task / name).read_text() for name in image.required)
        return [line.partition("=")[0].rstrip(">") for line in text.splitlines()]

    assert packages(base) == ["awslambdaric", *IMPORTED]
    assert packages(own) == ["awslambdaric", *IMPORTED, "torch"]
    for image in (base, own):
        assert (image.task / "library/disdel/worker/tasks.py").is_file()
        assert (image.task / f"{image.handler.partition('.')[0]}.py").is_file()


def test_a_runtime_of_the_base_image_has_one_image(tmp_path):
    alone = replace(TORCH, image="runtime-base")
    export("lambda", tmp_path / "new", alone, None)
    assert list(images_of(tmp_path / "new", tmp_path)) == ["runtime-base"]
    assert "torch==" in (tmp_path / "new/requirements-framework.txt").read_text()


def test_what_a_platform_is_not_told_in_its_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--memory, --timeout and --instances say nothing"):
        export("lambda", tmp_path, TORCH, LIMITS)
    with pytest.raises(UsageError, match=r"compiled actions need no image on lambda"):
        export("lambda", tmp_path, COMPILED, None)
    assert not list(tmp_path.iterdir())


def test_it_is_written_anew_and_nothing_else_is_touched(tmp_path):
    export("functions-framework", tmp_path, TORCH, LIMITS)
    (tmp_path / "disdel/gone.py").write_text("")
    (tmp_path / "mine.txt").write_text("kept")
    export("functions-framework", tmp_path, TORCH, LIMITS)
    assert not (tmp_path / "disdel/gone.py").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/main.py").write_text("mine")
    with pytest.raises(UsageError, match=r"has other files in it, such as main.py"):
        export("functions-framework", tmp_path / "other", TORCH, LIMITS)
    # A folder below that was written before makes this one no such folder; nor does another tool's.
    (tmp_path / "other/function").mkdir()
    export("functions-framework", tmp_path / "other/function", TORCH, LIMITS)
    with pytest.raises(UsageError, match=r"has other files in it, such as function"):
        export("functions-framework", tmp_path / "other", TORCH, LIMITS)
    assert (tmp_path / "other/function/disdel").is_dir()
    with pytest.raises(UsageError, match=r"has other files in it"):
        export("knative", tmp_path / "other/function", TORCH, LIMITS)
    with pytest.raises(UsageError, match="cannot be written"):
        export("functions-framework", tmp_path / "mine.txt", TORCH, LIMITS)
