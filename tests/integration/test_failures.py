"""What goes wrong: bad input ends with 2 before anything is left, a failing action with 1."""

import dataclasses
import http.server
import json
import os
import threading
from functools import partial

import pytest

import disdel as library
from disdel.controller.inference import infer as infer_module
from disdel.controller.training import train as train_module
from disdel.errors import ActivationFailed
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from tests.support import command

disdel = partial(command.disdel, check=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("train digts", "did you mean 'digits'"),
        ("train no_such_set_anywhere", "unknown data set"),
        ("plan digits --workers 2000", "--workers 2000 is more than the 1438 training samples"),
        ("train digits --workers 2000", "--workers 2000 is more than the 1438 training samples"),
        (
            "train digits --workers many",
            "--workers must be auto or a whole number from 1 to 10000, not 'many'",
        ),
        ("train digits --batch 0", "--batch must be a whole number from 1"),
        ("train digits --epochs 0", "--epochs must be a whole number from 1"),
        ("train digits --epochs x", "--epochs"),
        ("train digits --sync never", "--sync must be epoch or once or a whole number from 1"),
        ("train digits --model cnm", "did you mean 'cnn'"),
        ("train digits --model cnn2", "does not fit data set 'digits'"),
        ("train digits --optimizer adamm", "unknown optimizer 'adamm'"),
        ("train digits --learning-rate -1", "--learning-rate must be a number above 0"),
        (
            "train digits --target-accuracy 98",
            "--target-accuracy must be a number above 0 and at most 1",
        ),
        ("train digits --schedule step", "--schedule must be constant or cosine or linear"),
        ("train digits --warmup 1.5", "--warmup must be a whole number of steps"),
        ("train", "name a data set, or a run with --resume RUN"),
        ("train --resume nothing", "there is no run"),
        ("stop nothing", "there is no run"),
        ("runs prune", "say which runs"),
        ("train digits --runtime tensorflow --memory-max 256", "256 MB is the limit"),
        ("train digits --limits stock --model resnet34", "512 MB is the limit"),
        ("train digits --limits huge", "--limits must be roomy or stock or digitalocean"),
        ("train digits --pool-memory 100", "--pool-memory is 100 MB"),
        ("train digits --redis redis://127.0.0.1:1", "no Redis answers at redis://127.0.0.1:1"),
        ("train digits --redis localhost", "is no address of a store"),
        ("train digits --apihost http://127.0.0.1:1 --auth a:b", "no OpenWhisk answers"),
        (
            "train digits --apihost https://whisk.invalid --auth a:b",
            "requests and answers carry the data; --store URL names a store",
        ),
        ("train digits --json nowhere/out.json", "there is no such folder"),
        ("infer digits", "train first: disdel train digits"),
        ("infer digits --model nothing", "there is no run"),
        ("infer digits --model nothing.keras", "does not exist"),
        ("infer digits --predictions out.txt", "must end in .csv or .json"),
        ("infer digits --predictions nowhere/out.csv", "there is no such folder"),
        ("infer digits --top-k 0", "--top-k must be a whole number of at least 1"),
        ("infer digits --workers many", "--workers must be auto or a whole number"),
        ("runs show nothing", "there is no run"),
        ("logs nothing", "there is no run"),
        ("dataset import mine nowhere.npz", "nowhere.npz"),
        ("dataset info digts", "did you mean 'digits'"),
        ("teach digits", "no such command 'teach'"),
    ],
)
def test_bad_input(arguments, told, tmp_path):
    done = disdel(*arguments.split(), cwd=tmp_path)
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert told in shown
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key(tmp_path):
    with start_embedded(EmbeddedOptions(user_memory_mb=1024)) as platform:
        host = platform.access.apihost
        done = disdel("train", "digits", "--apihost", host, "--auth", "a:b", cwd=tmp_path)
    assert done.returncode == 2
    assert "does not accept the key" in done.stderr
    assert list(tmp_path.iterdir()) == []


class Website(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *arguments):
        pass


def test_a_host_that_is_no_openwhisk(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"http://127.0.0.1:{server.server_port}"
        done = disdel("train", "digits", "--apihost", host, "--auth", "a:b", cwd=tmp_path)
        server.shutdown()
        thread.join()
    assert done.returncode == 2
    assert "answers, but not as OpenWhisk does (200, no JSON): check --apihost" in done.stderr


def with_plan(monkeypatch, **changes):
    """Let the planner err, as it must not."""
    real = train_module.plan_by_sizes

    def wrong(*arguments):
        question, plan = real(*arguments)
        return question, dataclasses.replace(plan, **changes)

    monkeypatch.setattr(train_module, "plan_by_sizes", wrong)


@pytest.mark.framework
def test_an_action_that_is_killed_for_memory_gets_more(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with_plan(monkeypatch, memory_mb=160)
    trained = library.train("digits", workers=1, epochs=1, runtime="tensorflow")
    tries = [entry for entry in trained.report.activations if entry.task == "train"]
    assert tries[0].outcome == "oom"
    # Where the libraries are charged to this container, one size is enough to save its work in.
    assert {entry.outcome for entry in tries[:-1]} <= {"oom", "continued-memory"}
    assert tries[-1].outcome == "ok"
    killed = [entry for entry in tries if entry.outcome == "oom"]
    sizes = [entry.memory_mb for entry in tries]
    assert sizes[0] == 160
    assert sizes == sorted(set(sizes))
    assert trained.report.totals.failed == trained.report.totals.restarted == len(killed)
    assert [entry.samples for entry in trained.report.ledger] == [1438]


@pytest.mark.framework
def test_an_evaluation_that_is_killed_for_memory_gets_more(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained = library.train("digits", workers=1, epochs=1, runtime="tensorflow")
    real = infer_module.make_infer_plan
    monkeypatch.setattr(
        infer_module,
        "make_infer_plan",
        lambda question: dataclasses.replace(real(question), memory_mb=160),
    )
    report = trained.evaluate()
    assert report.accuracy == pytest.approx(trained.report.accuracy)
    assert report.activations[0].outcome == "oom"
    assert report.activations[-1].outcome == "ok"
    sizes = [entry.memory_mb for entry in report.activations]
    assert sizes[0] == 160
    assert sizes == sorted(set(sizes))


@pytest.mark.framework
def test_an_action_that_cannot_have_more_memory_ends_the_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with_plan(monkeypatch, memory_mb=160, memory_max_mb=192)
    with pytest.raises(ActivationFailed) as failed:
        library.train("digits", workers=1, epochs=1, runtime="tensorflow")
    error = failed.value
    assert error.exit_code == 1
    assert error.outcome == "oom"
    assert "The action exhausted its memory and was aborted. Its limit was 192 MB" in str(error)
    assert error.activation_id in str(error)
    [report] = tmp_path.glob("runs/*/report.json")
    saved = json.loads(report.read_text())
    assert saved["status"] == "failed"
    assert {entry["outcome"] for entry in saved["activations"]} == {"oom"}
    assert saved["totals"]["failed"] == len(saved["activations"])
    assert f"worker-0-{error.activation_id}.log" in {p.name for p in report.parent.glob("logs/*")}


@pytest.mark.framework
def test_an_action_that_outlives_its_time_ends_the_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # Less than the framework takes to import.
    with_plan(monkeypatch, timeout_s=0.2, timeout_max_s=0.2)
    with pytest.raises(ActivationFailed) as failed:
        library.train("digits", workers=1, epochs=1, runtime="tensorflow")
    assert failed.value.outcome == "timeout"
    assert "exceeded its time limits of 200 milliseconds" in str(failed.value)


def test_the_platform_for_longer_than_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    up = disdel("platform", "up", "--json", "access.json", "--user-memory", "1024", cwd=tmp_path)
    try:
        assert up.returncode == 0, up.stderr
        access = json.loads((tmp_path / "access.json").read_text())
        assert f"APIHOST={access['apihost']}" in up.stdout
        assert f"AUTH={access['auth']}" in up.stdout
        assert access["apihost"] in disdel("platform", "status", cwd=tmp_path).stdout
        again = disdel("platform", "up", cwd=tmp_path)
        assert again.returncode == 2
        assert "already running" in again.stderr
        # What it prints is what `.wskprops` takes.
        (tmp_path / "props").write_text(up.stdout)
        monkeypatch.setenv("WSK_CONFIG_FILE", str(tmp_path / "props"))
        checked = disdel("doctor", cwd=tmp_path)
        assert f"OpenWhisk at {access['apihost']}" in checked.stdout
        assert checked.returncode == 0, checked.stdout
    finally:
        down = disdel("platform", "down", cwd=tmp_path)
    assert "stopped the platform" in down.stdout
    assert "no platform is running" in disdel("platform", "status", cwd=tmp_path).stdout


@pytest.mark.framework
def test_doctor_asks_containers_from_inside(tmp_path):
    done = disdel("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for image in ("runtime-base", "runtime-tensorflow"):
        [line] = [line for line in done.stdout.splitlines() if f"  {image} " in line]
        assert line.startswith("ok ")
        assert "reaches the store" in line
        assert "numpy" in line


def test_doctor_names_an_image_that_is_not_there(tmp_path):
    done = disdel("doctor", "--image-prefix", "nobody/", cwd=tmp_path)
    assert done.returncode == 1
    assert "Failed to pull container image 'nobody/runtime-base:" in done.stdout
    assert "runtime-image/build" in done.stdout


def test_a_platform_that_is_put_down_and_up_again_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "running"))
    up = ("platform", "up", "--user-memory", "1024", "--state", "kept", "--json", "access.json")
    keys = []
    for _ in range(2):
        assert disdel(*up, cwd=tmp_path).returncode == 0
        keys.append(json.loads((tmp_path / "access.json").read_text())["auth"])
        assert disdel("platform", "down", cwd=tmp_path).returncode == 0
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("option", "told"),
    [("--prewarm disdel/runtime-base:much:1", "prewarm"), ("--grow-to 99999", "grow")],
)
def test_a_platform_that_cannot_be_as_asked(tmp_path, monkeypatch, option, told):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "running"))
    done = disdel("platform", "up", *option.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_names_what_is_missing(tmp_path):
    done = disdel("doctor", "--redis", "redis://127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 1
    assert "FAIL  platform" in done.stdout
    assert "no Redis answers" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    done = disdel("train", "digits", "--run-dir", tmp_path / "runs", cwd="/")
    assert done.returncode == 2
    assert "name another place with --run-dir" in done.stderr
