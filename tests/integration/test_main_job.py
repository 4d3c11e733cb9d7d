"""The main job for real: command line, embedded platform, Redis, TensorFlow, kernel limits."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from disdel.store.private_redis import PrivateRedis
from openwhisk_local.records import read_records
from tests.support.command import ROOT, disdel
from tests.support.embedded import proxies
from tests.support.held import until, waiting
from tests.support.waiting import wait_until, wait_until_none

pytestmark = pytest.mark.framework

STATE = "DISDEL_STATE_DIR"
# As many workers whatever the speed of earlier runs, and so the same numbers.
TRAINED = ("--runtime", "tensorflow", "--epochs", 12, "--workers", 2)

MNIST = Path(os.environ.get("DISDEL_TEST_DATA", "../shared/data")) / "mnist.npz"


def leftovers():
    """Servers started with this test's state folder, and containers without their platform."""
    mine, temporary = os.environ[STATE], tempfile.gettempdir()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            line = " ".join(process.cmdline())
            orphan = temporary in line and "proxy.py" in line and process.ppid() == 1
            if orphan or (process.pid != os.getpid() and process.environ().get(STATE) == mine):
                found.append(line)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(clean_environment):
    """Whatever a test did, its processes are gone."""
    yield
    wait_until_none(leftovers)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which `digits` was trained, with two workers."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISDEL_DATA_DIR", str(folder / "data"))
        patch.setenv("DISDEL_STATE_DIR", str(folder / "state"))
        done = disdel("train", "digits", *TRAINED, "--json", "out.json", cwd=folder)
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture(autouse=True)
def same_data(home, monkeypatch):
    monkeypatch.setenv("DISDEL_DATA_DIR", str(home / "data"))


@pytest.fixture
def report(home):
    return json.loads((home / "out.json").read_text())


def test_a_network_has_learnt_digits(report):
    assert report["status"] == "ok"
    assert report["accuracy"] > 0.9
    assert [entry["round"] for entry in report["rounds"]] == list(range(1, 13))
    assert report["rounds"][-1]["loss"] < report["rounds"][0]["loss"]


def test_the_report_holds_what_was_measured(report, home):
    assert report["platform"] == "embedded"
    assert report["plan"]["workers"] == 2
    trained = [entry for entry in report["activations"] if entry["task"] == "train"]
    assert len(trained) == 2 * 12
    assert all(0 < entry["peak_mb"] <= entry["memory_mb"] for entry in report["activations"])
    assert report["totals"]["failed"] == 0
    assert report["totals"]["containers"] == 3
    [folder] = [path for path in (home / "runs").iterdir() if "train" in path.name]
    assert json.loads((folder / "report.json").read_text()) == report


def test_phases_cover_what_an_activation_did(report):
    for entry in report["activations"]:
        times, phases = entry["times"], entry["phases"]
        assert 0 <= times["submitted_ms"] <= times["started_ms"] <= times["received_ms"]
        ended = [end_ms for end_ms in phases.values() if end_ms is not None]
        assert ended == sorted(ended)
        # Both clocks round to a millisecond.
        assert ended[-1] <= entry["duration_ms"] - entry["init_ms"] + 2
        assert times["received_ms"] <= report["wall_s"] * 1000 + 2
    steps = [entry for entry in report["activations"] if entry["task"] == "train"]
    for entry in steps:
        left_out = {name for name, end_ms in entry["phases"].items() if end_ms is None}
        # There is no average to score before the first round.
        assert left_out == ({"scored_ms"} if entry["round"] == 1 else set())


def test_a_run_leaves_a_page_that_can_be_written_again(report, home):
    [folder] = [path for path in (home / "runs").iterdir() if path.name == report["run"]]
    page = (folder / "report.html").read_text()
    assert page.count('class="activation"') >= len(report["activations"])
    disdel("report", report["run"], "--output", "again.html", cwd=home)
    assert (home / "again.html").read_text() == page


def test_progress_goes_to_stderr_and_the_result_to_stdout(home):
    stdout, stderr = (home / "stdout").read_text(), (home / "stderr").read_text()
    assert stderr.startswith("on      embedded platform")
    assert "plan    digits 8×8×1" in stderr
    assert " 12/12 " in stderr
    assert stdout.startswith("done ")
    assert "test accuracy" in stdout
    assert "report.json" in stdout


def test_the_averaged_model_opens_in_plain_keras(report, home):
    code = f"""
import keras, numpy as np
model = keras.saving.load_model({str(home / report["model"])!r})
data = {str(home / "data" / "digits" / "1.0.0" / "disdel-arrays")!r}
x, y = np.load(data + "/test_x.npy"), np.load(data + "/test_y.npy")
print(float((model.predict(x, verbose=0).argmax(1) == y).mean()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(report["accuracy"])


def test_infer_agrees_with_the_training(report, home):
    done = disdel("infer", "digits", "--quiet", "--json", "-", cwd=home)
    inferred = json.loads(done.stdout)
    assert done.stderr == ""
    assert inferred["accuracy"] == pytest.approx(report["accuracy"])
    assert inferred["loss"] == pytest.approx(report["loss"], rel=1e-3)
    assert (home / "runs" / inferred["run"] / "confusion.png").is_file()


def test_an_evaluation_on_several_actions_says_how_good_each_class_is(report, home):
    done = disdel(
        *("infer", "digits", "--model", report["run"], "--workers", 2, "--top-k", 3),
        *("--predictions", "all.csv", "--json", "inferred.json"),
        cwd=home,
    )
    inferred = json.loads((home / "inferred.json").read_text())
    with (home / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["class"] == row["true"] for row in rows]
    among = [row["true"] in (row["class"], row["class_2"], row["class_3"]) for row in rows]
    assert len(rows) == 359
    assert inferred["accuracy"] == pytest.approx(np.mean(right)) == report["accuracy"]
    assert inferred["evaluation"]["top_k_accuracy"] == pytest.approx(np.mean(among))
    evaluated = [(e["task"], e["worker"], e["outcome"]) for e in inferred["activations"]]
    assert sorted(evaluated) == [("evaluate", 0, "ok"), ("evaluate", 1, "ok")]
    lines = done.stdout.splitlines()
    [heading] = [line for line in lines if line.split()[:2] == ["class", "samples"]]
    table = lines[lines.index(heading) + 1 :][:10]
    assert sum(int(line.split()[1]) for line in table) == 359
    assert done.stdout.count("confusion.png") == done.stdout.count("all.csv") == 1


def test_predictions_of_images_and_arrays(home, report):
    arrays = home / "data" / "digits" / "1.0.0" / "disdel-arrays"
    x, y = np.load(arrays / "test_x.npy"), np.load(arrays / "test_y.npy")
    pictures = home / "pictures"
    pictures.mkdir(exist_ok=True)
    for index in range(20):
        Image.fromarray(x[index, :, :, 0]).save(pictures / f"{index:02}.png")
    np.savez(home / "some.npz", x=x[:20])
    classes = []
    for source in ("pictures", "some.npz"):
        printed = disdel(
            *("infer", "digits", "--model", report["run"], "--input", source),
            *("--predictions", "some.json"),
            cwd=home,
        ).stdout.splitlines()
        predicted = json.loads((home / "some.json").read_text())["predictions"]
        classes.append([entry["class"] for entry in predicted])
        table = [line.split() for line in printed[-len(predicted) :]]
        assert [row[:2] for row in table] == [[e["input"], e["class"]] for e in predicted]
        assert printed[-len(predicted) - 1].split() == ["input", "class", "probability"]
    assert classes[0] == classes[1]
    assert len(classes[0]) == 20
    assert np.mean([int(c) == label for c, label in zip(classes[0], y[:20], strict=True)]) > 0.7


def test_runs_and_logs_of_what_was_done(home, report):
    assert report["run"] in disdel("runs", "list", cwd=home).stdout
    shown = disdel("runs", "show", report["run"], cwd=home).stdout
    assert f"accuracy  {report['accuracy']:.4f}" in shown
    logs = disdel("logs", report["run"], "--worker", 1, cwd=home).stdout
    assert logs.count("== train worker 1") == 12
    assert "worker 0" not in logs
    said = (
        rf"disdel: run {report['run']} task train round 2 worker 1 client 1 segment 0: ok, steps "
    )
    assert re.search(said + r"\d+ to (\d+) of \1, at most \d+ of \d+ MB in use", logs)


def test_python_does_what_the_command_does(home, monkeypatch):
    import disdel as library

    monkeypatch.chdir(home)
    trained = library.train("digits", batch=32, epochs=2, workers=1)
    assert trained.report.status == "ok"
    assert trained.model_path.is_file()
    assert trained.evaluate().accuracy == pytest.approx(trained.report.accuracy)


def start_training(home, *arguments):
    """Start a long training; it is past its first round, with its containers warm."""
    command = [sys.executable, "-m", "disdel", "train", "digits"]
    process = subprocess.Popen(
        [*command, "--epochs", "5000", "--runtime", "torch", *arguments],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "2/5000" not in (line := process.stderr.readline()):
        assert line, "ended before the second round"
    return process


@pytest.fixture
def training(home):
    with start_training(home) as process:
        yield process
        process.kill()


def test_a_redis_that_dies_ends_the_run(home):
    with PrivateRedis() as server:
        server.ready()
        with start_training(home, "--redis", server.url, "--patience-network", "0.5") as process:
            server.close()
            stdout, stderr = process.communicate()
    assert process.returncode == 1
    assert "Redis at redis://***@127.0.0.1" in stderr
    assert "Traceback" not in stderr
    assert stdout.startswith("failed ")


def test_a_private_redis_that_is_killed_is_not_waited_for(training):
    children = psutil.Process(training.pid).children(recursive=True)
    [server] = [child for child in children if "redis-server" in child.name()]
    server.kill()
    _, stderr = training.communicate()
    assert training.returncode == 1
    assert re.search(r"Redis at \S+ has ended, and what it held is gone: ", stderr)
    assert "trying again" not in stderr
    assert "Traceback" not in stderr


def test_an_interrupt_ends_with_130_and_leaves_nothing(training):
    training.send_signal(signal.SIGINT)
    _, stderr = training.communicate()
    assert training.returncode == 130
    assert re.search(
        r"note +disdel train --resume \S+-train-digits-\w+ continues it after round \d", stderr
    )
    assert stderr.rstrip().endswith("disdel: interrupted")
    assert "Traceback" not in stderr


def test_a_killed_command_leaves_no_process(training):
    training.kill()
    training.communicate()
    # The fixture `nothing_is_left` sees to it that nothing is.


def test_containers_that_are_killed_cost_no_sample(home, report, tmp_path):
    """Twice in one run a container is killed with kill -9, and the run ends as without."""
    go = tmp_path / "go"
    job = ("train", "digits", *map(str, TRAINED), "--json", "killed.json", *until(go, 4))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.held", *job],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        killed = set()
        for _ in range(2):
            container = wait_until(lambda: next(iter(waiting(go) - killed), None))
            [record] = read_records(Path(os.environ[STATE]))
            proxies(record)[container].kill()
            killed.add(container)
        # Those in their places are there, so that nobody is late afterwards.
        wait_until(lambda: len(waiting(go) - killed) == 2)
        go.touch()
        _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    disturbed = json.loads((home / "killed.json").read_text())
    assert disturbed["totals"]["failed"] == 2
    assert disturbed["totals"]["restarted"] == 2
    # The same numbers as undisturbed: every sample was counted once.
    assert disturbed["accuracy"] == report["accuracy"]
    assert disturbed["loss"] == report["loss"]
    counted, undisturbed = (
        [(e["round"], e["worker"], e["samples"], e["checksum"]) for e in each["ledger"]]
        for each in (disturbed, report)
    )
    assert counted == undisturbed


@pytest.fixture(scope="module")
def mnist_home(tmp_path_factory):
    """A folder with 8,000 real training images, all 10,000 test images, and a training on them."""
    if not MNIST.is_file():
        pytest.skip(f"needs the real MNIST at {MNIST}")
    folder = tmp_path_factory.mktemp("mnist")
    with np.load(MNIST) as mnist:
        np.savez(
            folder / "slice.npz",
            x_train=mnist["x_train"][:8000],
            y_train=mnist["y_train"][:8000],
            x_test=mnist["x_test"],
            y_test=mnist["y_test"],
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISDEL_DATA_DIR", str(folder / "data"))
        patch.setenv("DISDEL_STATE_DIR", str(folder / "state"))
        disdel("dataset", "import", "mnist", "slice.npz", cwd=folder)
        disdel(
            *("train", "mnist", "--epochs", 3, "--memory-max", 768, "--quiet"),
            *("--json", "trained.json"),
            cwd=folder,
        )
    return folder


def test_a_slice_of_real_mnist(mnist_home):
    report = json.loads((mnist_home / "trained.json").read_text())
    assert report["accuracy"] > 0.93
    assert report["plan"]["memory_mb"] <= 768
    assert report["totals"]["failed"] == 0


def test_the_same_job_on_torch(tmp_path):
    options = ("--runtime", "torch", "--epochs", "6", "--batch", "32", "--quiet")
    disdel("train", "digits", *options, "--json", "report.json", cwd=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["plan"]["runtime"] == report["settings"]["runtime"] == "torch"
    assert report["model"].endswith("model.safetensors")
    assert report["accuracy"] > 0.8  # a tenth would be chance
    assert report["totals"]["failed"] == 0
    disdel("infer", "digits", "--quiet", "--json", "scored.json", cwd=tmp_path)
    scored = json.loads((tmp_path / "scored.json").read_text())
    assert scored["model"] == report["model"]
    assert scored["accuracy"] == pytest.approx(report["accuracy"])


def test_ten_thousand_real_images_need_no_more_memory_than_planned(mnist_home, monkeypatch):
    monkeypatch.setenv("DISDEL_DATA_DIR", str(mnist_home / "data"))
    done = disdel("infer", "mnist", "--workers", 2, "--quiet", "--json", "-", cwd=mnist_home)
    report = json.loads(done.stdout)
    trained = json.loads((mnist_home / "trained.json").read_text())
    assert report["accuracy"] == pytest.approx(trained["accuracy"])
    assert sum(score["samples"] for score in report["evaluation"]["classes"]) == 10_000
    assert [entry["outcome"] for entry in report["activations"]] == ["ok", "ok"]
    for entry in report["activations"]:
        assert entry["memory_mb"] == report["plan"]["memory_mb"]
        assert 0 < entry["working_set_mb"] < entry["memory_mb"]
        assert 0 < entry["peak_mb"] <= entry["memory_mb"]
