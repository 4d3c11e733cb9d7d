"""Flower apps as functions, by the command, in an environment that has Flower."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from disdel.types.report_json import report_from_json
from tests.support.waiting import wait_until, wait_until_none

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build/environments/flower/bin/python"
APPS = ROOT / "tests/flower/apps"
# What Flower's own simulation has made of both apps, with two nodes: `simulate.py` beside it says.
SIMULATED = json.loads((ROOT / "tests/flower/simulated.json").read_text())

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="no Flower here: scripts/platform-environments flower"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What is remembered of apps, by all tests of this file."""
    return tmp_path_factory.mktemp("flower-home")


@pytest.fixture
def begin(tmp_path, home):
    """Start a command; what it takes is in an environment of its own."""

    def start(*arguments, **environ):
        return subprocess.Popen(
            [PYTHON, "-m", "disdel", *map(str, arguments)],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if "DISDEL_" not in name},
                "HOME": str(home),
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def flower(begin, tmp_path):
    """Run an app: the exit code, the report, what the ServerApp left in `out`, and both outputs."""

    def run(app, *options, config="", status="ok"):
        out = tmp_path / "out.json"
        out.unlink(missing_ok=True)
        wanted = f"{config} out={str(out)!r}"
        process = begin("flower", app, "-c", wanted, "--json", tmp_path / "r.json", *options)
        stdout, stderr = process.communicate()
        assert (tmp_path / "r.json").exists(), stderr
        report = report_from_json(json.loads((tmp_path / "r.json").read_text()))
        assert report.status == status, stderr
        told = json.loads(out.read_text()) if out.exists() else None
        return process.returncode, report, told, stdout, stderr

    return run


def test_what_imports_flower_is_tested_where_it_is():
    # Flower uses libraries in ways that these have given up.
    quiet = ("-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning")
    done = subprocess.run(
        [PYTHON, "-m", "pytest", *quiet, "tests/flower"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


DIES = """
import itertools, os, signal

answered = itertools.count(1)

def dies(message, context, call_next):
    reply = call_next(message, context)
    if next(answered) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply

app = ClientApp(mods=[dies])
"""


@pytest.fixture
def torch_app(tmp_path):
    return shutil.copytree(ROOT / "examples/flower", tmp_path / "torch")


@pytest.mark.framework
def test_pytorch_by_the_message_api_is_as_in_the_simulation_when_containers_are_killed(
    flower, torch_app
):
    """Containers die in their third message. The nodes count the rounds in their state."""
    client = torch_app / "digits_torch/client_app.py"
    client.write_text(client.read_text().replace("app = ClientApp()", DIES))
    options = ("--num-supernodes", "2", "--action-env", "OMP_NUM_THREADS=1")
    code, report, result, stdout, _ = flower(torch_app, *options)
    assert code == 0
    assert {entry.outcome for entry in report.flower.messages} == {"ok"}
    trained = [entry for entry in report.flower.messages if entry.type == "train"]
    assert [entry.metrics["rounds"] for entry in trained] == [e.round for e in trained]
    assert {entry.round for entry in trained} == {1, 2, 3}
    # What the ServerApp prints, and the summary below it.
    assert json.dumps(result) in stdout
    assert "12 messages to nodes, all answered" in stdout
    lost = sum(entry.attempts - 1 for entry in report.flower.messages)
    assert report.totals.failed == lost > 0
    simulated = SIMULATED["torch"]
    assert result["accuracy"] == simulated["accuracy"]
    assert result["loss"] == pytest.approx(simulated["loss"], rel=1e-5)


@pytest.mark.framework
def test_keras_by_the_older_api_is_as_in_the_simulation(flower):
    code, report, result, _, _ = flower(APPS / "keras_app")
    assert code == 0
    assert report.flower.run_config["num-server-rounds"] == 2
    assert [entry.round for entry in report.flower.messages] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert {"loss", "accuracy"} <= report.flower.messages[-1].metrics.keys()
    simulated = SIMULATED["keras"]
    assert result["accuracy"] == simulated["accuracy"]
    assert result["loss"] == pytest.approx(simulated["loss"], rel=1e-5)


@pytest.fixture
def plain(tmp_path):
    """An app without a framework, whose first node does what its configuration says."""
    return shutil.copytree(APPS / "plain_app", tmp_path / "plain")


def test_what_a_client_raises_is_told_and_the_others_go_on(flower, plain, tmp_path):
    code, report, result, _, stderr = flower(plain, config="what='raise'")
    assert code == 0
    assert "KeyError: 'missing' (plain/client_app.py:" in stderr
    assert "Traceback" not in stderr
    outcomes = {(e.partition, e.outcome) for e in report.flower.messages}
    assert outcomes == {(0, "raised"), (1, "ok")}
    assert result["errors"] == [2, 2]
    assert result["counts"] == [2]
    folder = tmp_path / report.settings["run_dir"] / report.run
    logs = "".join(file.read_text() for file in (folder / "logs").iterdir())
    assert "Traceback" in logs


def test_a_client_that_crashes_or_needs_more_memory_is_asked_again(flower, plain):
    code, report, result, _, stderr = flower(plain, config="what='crash' asks=1")
    assert code == 0
    assert result == {"errors": [8], "counts": [1]}
    assert {e.attempts for e in report.flower.messages if e.partition == 0} == {5}
    code, report, result, _, stderr = flower(plain, "--memory", "128", config="what='memory'")
    assert (code, result) == (0, {"errors": [], "counts": [2, 2]})
    assert "was lost (oom); it runs again with 192 MB" in stderr
    assert report.flower.memory_mb > 192


FABRIC = """
[endpoints.here]
platform = "embedded"
containers = 1

[endpoints.pool]
platform = "executor"
executor = "pool.py:make"
containers = 1

[[clients]]
ids = "0"
endpoint = "pool"
"""
POOL = """
from concurrent.futures import ThreadPoolExecutor

def make():
    return ThreadPoolExecutor(2)
"""


def test_nodes_on_two_platforms_keep_their_state_wherever_they_are(flower, plain, tmp_path):
    (tmp_path / "both.toml").write_text(FABRIC)
    (tmp_path / "pool.py").write_text(POOL)
    code, report, result, _, _ = flower(
        plain, "--fabric", tmp_path / "both.toml", "--num-supernodes", "4"
    )
    assert (code, result) == (0, {"errors": [], "counts": [2, 2, 2, 2]})
    where = {(e.partition, e.endpoint) for e in report.flower.messages}
    assert (0, "pool") in where
    assert {name for _, name in where} == {"here", "pool"}
    assert {one.endpoint for one in report.endpoints} == {"here", "pool"}


def test_a_run_that_no_node_has_answered_is_not_done(flower, plain):
    code, report, _, _, stderr = flower(plain, config="what='all raise'", status="failed")
    assert code == 1
    assert report.error.kind == "app"
    assert "none of 4 messages to the nodes was answered (4 raised)" in stderr


def test_errors_of_the_server_app_end_the_run_as_they_end_flowers(flower, plain):
    code, report, _, _, stderr = flower(plain, config="what='server'", status="failed")
    assert code == 1
    assert "RuntimeError: broken here" in stderr
    assert "disdel: the ServerApp failed: RuntimeError: broken here" in stderr
    assert report.error.kind == "app"


def test_a_client_app_that_cannot_be_loaded_says_what_to_install(flower, plain):
    (plain / "plain/client_app.py").write_text("import nothing_of_the_kind\napp = 1\n")
    code, _, _, _, stderr = flower(plain, status="failed")
    assert code == 1
    assert "ModuleNotFoundError: No module named 'nothing_of_the_kind'" in stderr
    assert "install what it imports" in stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-c", "wat=1"], "'wat'"),
        (["--num-supernodes", "0"], "--num-supernodes"),
        (["--memory", "9999999"], "--memory 9999999 MB is not between"),
        (["--federation", "none"], "--federation"),
    ],
)
def test_what_cannot_be_run_as_asked_is_refused_before_it_begins(
    begin, plain, tmp_path, options, said
):
    process = begin("flower", plain, *options)
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert said in stderr
    assert not (tmp_path / "runs").exists()


def processes_of(folder):
    """The processes that have this folder in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_a_command_that_is_ended(begin, plain, tmp_path, number):
    mark = tmp_path / "began"
    process = begin("flower", plain, "-c", f"what='hang' out={str(mark)!r}", MARK=str(mark))
    wait_until(mark.exists)
    process.send_signal(number)
    process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
    wait_until_none(lambda: processes_of(mark))
    [run] = (tmp_path / "runs").iterdir()
    show = begin("runs", "show", run.name)
    text, _ = show.communicate()
    assert ("interrupted" if number == signal.SIGINT else "lost") in text
