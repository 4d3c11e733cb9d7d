"""Whole runs on executors, bit for bit what the embedded platform comes to."""

import subprocess
import sys
from pathlib import Path

import pytest

import disdel
from disdel.settings import Settings
from tests.support import executors
from tests.support.environments import python_of

pytestmark = pytest.mark.framework
OPTIONS = {
    "clients": 6,
    "clients_per_round": 4,
    "rounds": 2,
    "runtime": "torch",
    "seed": 3,
    "containers": 2,
}


def federated(folder, on=None):
    """The bytes of the model of a federation whose report says that nothing went wrong."""
    platform = {} if on else {"platform": "embedded"}
    run = disdel.federate("digits", **OPTIONS, **platform, on=on, settings=Settings(run_dir=folder))
    assert (run.report.status, run.report.totals.failed) == ("ok", 0)
    assert run.report.platform == ("executor" if on else "embedded")
    return run.model_path.read_bytes()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return federated(tmp_path_factory.mktemp("embedded"))


def test_a_federation_on_a_process_pool(tmp_path, embedded):
    with executors.processes() as pool:
        assert federated(tmp_path, pool) == embedded


def test_a_federation_on_parsl(tmp_path, embedded):
    """Where Parsl is installed, which is another Python process than this one."""
    code = (
        "import sys, pathlib; from tests.integration.test_on_executors import *\n"
        "pathlib.Path(sys.argv[1], 'model').write_bytes(federated(sys.argv[1], executors.parsl))"
    )
    ended = subprocess.run(
        [python_of("executors"), "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "model").read_bytes() == embedded


def test_an_executor_is_named_on_the_command_line(tmp_path):
    (tmp_path / "pool.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n\n\ndef make():\n"
        "    return ThreadPoolExecutor(2)\n"
    )
    command = [sys.executable, "-m", "disdel", "train", "digits", "--epochs=1", "--runtime=torch"]
    command += ["--platform=executor", "--platform-option=executor=pool.py:make", "--quiet"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("runs/*/model.safetensors"))) == 1
