"""What must answer at once loads nothing heavy."""

import json
import subprocess
import sys

import pytest

FRAMEWORKS = (
    "tensorflow",
    "keras",
    "torch",
    "jax",
    "sklearn",
    "tensorflow_datasets",
    "matplotlib",
)


def modules_after(code):
    """The modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


RUN = """
from disdel.cli.app import app
try:
    app({arguments!r}, standalone_mode=True)
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["infer", "--help"], ["plan", "digits"], ["runs", "list"], ["dataset", "list"]],
    ids=" ".join,
)
def test_the_command_line_loads_no_framework(arguments):
    assert not modules_after(RUN.format(arguments=arguments)) & set(FRAMEWORKS)


def test_importing_the_library_loads_next_to_nothing():
    loaded = modules_after("import disdel")
    assert not loaded & {*FRAMEWORKS, "redis", "httpx", "rich", "typer", "numpy", "starlette"}


def test_the_worker_side_loads_no_framework_and_no_controller():
    loaded = modules_after("import disdel.worker.tasks")
    assert not loaded & {*FRAMEWORKS, "httpx", "rich", "typer", "starlette", "disdel.controller"}


def test_an_action_that_trains_reads_no_messages_of_federations():
    loaded = modules_after("import disdel.worker.tasks, disdel.worker.train, disdel.worker.score")
    assert not loaded & {"disdel.protocol.client_messages", "disdel.protocol.description"}


def test_a_training_begins_its_platform_before_it_imports_what_compiles():
    loaded = modules_after("import disdel.cli.train")
    assert not loaded & {"disdel.compiler", "disdel.jobs", "disdel.host.helper"}
