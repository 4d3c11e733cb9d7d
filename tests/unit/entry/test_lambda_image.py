"""What Lambda calls in a container of an image, in a process of its own as there."""

import base64
import contextlib
import io
import json
import subprocess
import sys
import zipfile

import pytest

import disdel
from disdel.controller.invoking.exporting import export
from disdel.entry.lambda_image import CODE, CODE_ENV, LIBRARY_ENV
from disdel.platforms.base import ActionSpec
from disdel.platforms.lambda_.images import own_code
from disdel.runtimes.registry import TORCH
from tests.support.lambda_emulator.image import images_of
from tests.support.waiting import wait_until

# As Lambda does it, which goes on after an error.
RUNTIME = """
import importlib, json, sys, traceback

name, _, function = sys.argv[1].partition(".")
handler = getattr(importlib.import_module(name), function)

class Context:
    aws_request_id = "01234567-89ab-cdef-0123-456789abcdef"
    def get_remaining_time_in_millis(self):
        return 60_000

for event in json.load(sys.stdin):
    try:
        answer = handler(event, Context())
    except Exception as error:
        answer = {"raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
"""
MAIN = """
import os
from pathlib import Path

import disdel.worker
from own import NAME

calls = []

def main(args):
    calls.append(args)
    own = (Path(disdel.__file__).parents[1] / "own.py").is_file()
    return {"args": args, "calls": len(calls), "own": own, "name": NAME, "cwd": os.getcwd()}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    export("lambda", folder / "exported", TORCH, None)
    return images_of(folder / "exported", folder)["runtime-torch"]


def zipped(main=MAIN, **files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", main)
        archive.writestr("own.py", "NAME = 'mine'")
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def spec(code=None):
    code = zipped() if code is None else code
    return ActionSpec(name="act", code=code, memory_mb=128, timeout_s=1.0, image="runtime-torch")


@contextlib.contextmanager
def started(image, tmp_path, events, **variables):
    """The process of a container, which answers these events."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNTIME, image.handler],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=image.task,
        env={**image.environment, "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", **variables},
    )
    with process:
        process.stdin.write(json.dumps(events))
        process.stdin.close()
        process.stdin = None
        yield process


def answers(image, tmp_path, events, **variables):
    with started(image, tmp_path, events, **variables) as process:
        told, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in told.splitlines()]


def test_an_actions_own_code_lies_beside_the_library_once_a_container(image, tmp_path):
    own = own_code(spec(), "x86_64")
    events = [{"n": n, **own.event} for n in range(3)]
    told = answers(image, tmp_path, events, **own.variables)
    assert [each["args"] for each in told] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [each["calls"] for each in told] == [1, 2, 3]
    assert all(each["own"] and each["name"] == "mine" for each in told)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_code_than_the_functions_settings_name_does_not_run(image, tmp_path):
    own = own_code(spec(), "x86_64")
    other = base64.b64encode(zipped("raise SystemExit")).decode()
    for event in ({CODE: other}, {CODE: own.event[CODE][:-4]}, {}, {"n": 1}):
        [told] = answers(image, tmp_path, [event], **own.variables)
        assert told["raised"].startswith("WrongImage: the event does not bring the code")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("library", "said"),
    [
        (f"{disdel.__version__} 0", f"has disdel {disdel.__version__}, as the run, but other fil"),
        ("99.0 0", f"has disdel {disdel.__version__}, and the run 99.0: build and push anew"),
    ],
)
def test_another_library_is_refused_with_the_side_to_update(image, tmp_path, library, said):
    own = own_code(spec(), "x86_64")
    variables = {**own.variables, LIBRARY_ENV: library}
    told = answers(image, tmp_path, [own.event, own.event], **variables)
    assert all(said in each["raised"] for each in told)


def test_an_action_that_does_not_load_says_so_each_time_and_fills_nothing(image, tmp_path):
    own = own_code(spec(zipped("import no_such_module")), "x86_64")
    told = answers(image, tmp_path, [own.event] * 3, **own.variables)
    assert [each["raised"] for each in told] == [
        "ModuleNotFoundError: No module named 'no_such_module'"
    ] * 3
    assert len(list(tmp_path.iterdir())) == 1


SLOW = """
import tempfile
import time
from pathlib import Path

files = Path(tempfile.gettempdir())
with (files / "imports").open("a") as file:
    file.write("imported ")
while not (files / "goes on").exists():
    time.sleep(0.01)

def main(args):
    return {"n": args["n"]}
"""


def test_a_start_that_is_ended_in_its_midst_and_begun_again_does_no_harm(image, tmp_path):
    """As Lambda does with one that takes too long: its files stay."""
    own = own_code(spec(zipped(SLOW)), "x86_64")
    imports = tmp_path / "imports"
    with started(image, tmp_path, [{"n": 1, **own.event}], **own.variables) as process:
        wait_until(lambda: imports.exists() and imports.read_text())
        process.kill()
    (tmp_path / "goes on").touch()
    assert answers(image, tmp_path, [{"n": n, **own.event} for n in range(2)], **own.variables) == [
        {"n": 0},
        {"n": 1},
    ]
    assert imports.read_text().split() == ["imported"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"imports", "goes on", "disdel-action"}


def test_a_functions_settings_name_its_code():
    one, other = own_code(spec(), "x86_64"), own_code(spec(zipped(more="")), "x86_64")
    assert one.variables[CODE_ENV] != other.variables[CODE_ENV]
    assert own_code(spec(), "x86_64") == one
