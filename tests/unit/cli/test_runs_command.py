"""`disdel runs compare|prune` and `disdel stop`, on folders without a platform."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.controller.planning.plan_report import plan_report
from disdel.controller.runs.cleaning import interrupt
from disdel.controller.runs.lease import claim, claimed, is_driven
from disdel.controller.runs.places import Place, read_places, write_places
from disdel.controller.runs.progress import Progress, ProgressFiles
from disdel.controller.runs.run_folder import check_run_dir, create_run_folder, latest_trained
from disdel.controller.runs.run_users import RunUser
from disdel.controller.training.resuming import read_resumed
from disdel.errors import ConnectionRefused, DisdelError, UsageError
from disdel.protocol.keys import RunKeys
from disdel.store.redis_store import RedisStore
from disdel.types import (
    Activation,
    ClientsReport,
    ErrorReport,
    RoundReport,
    RunReport,
    SplitReport,
    TrainJob,
)
from disdel.types.client_scores import ClientScore, scores_of
from tests.support.planning import plan


@pytest.fixture
def disdel(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_RUN_DIR", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def ended(run_dir, *, status="ok", age_days=0.0, accuracy=0.9, **settings):
    folder = create_run_folder(run_dir, "train", "digits")
    report = RunReport(
        run=folder.run,
        job="train",
        dataset="digits",
        platform="embedded",
        status=status,
        settings={"batch": 64, "seed": 0} | settings,
        wall_s=1.5,
        accuracy=accuracy,
    )
    folder.write_report(report)
    written_s = time.time() - age_days * 86_400
    os.utime(folder.report, (written_s, written_s))
    return folder


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"version": 1, "ru',
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b'{"version": 3}',
        b'{"version": 1, "run": 7}',
        b'{"another": "program"}',
        b'{"version": 1}' + b" " * 2000,
    ],
)
def test_a_bad_report_hides_no_other(disdel, tmp_path, monkeypatch, content):
    monkeypatch.setattr("disdel.types.report_json._MOST_BYTES", 1500)
    good, bad = ended(tmp_path), ended(tmp_path)
    bad.report.write_bytes(content)
    (good.path / "model.keras").touch()
    listed = disdel("runs", "list")
    assert listed.exit_code == 0
    assert good.run in listed.stdout
    assert bad.run not in listed.stdout
    assert f"left out {bad.run}: " in listed.stderr
    assert latest_trained(tmp_path, "digits").run == good.run


def test_runs_side_by_side(disdel, tmp_path):
    one, two = ended(tmp_path, seed=1), ended(tmp_path, seed=2, accuracy=None, optimizer="sgd")
    table = disdel("runs", "compare", one.run, two.run).stdout
    lines = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert lines["accuracy"] == ["0.9", "-"]
    assert lines["seed"] == ["1", "2"]
    assert lines["optimizer"] == ["-", "sgd"]
    assert "batch" not in lines
    written = json.loads(disdel("runs", "compare", one.run, two.run, "--json", "-").stdout)
    assert [column["settings"] for column in written] == [
        {"seed": 1, "optimizer": None},
        {"seed": 2, "optimizer": "sgd"},
    ]
    with pytest.raises(UsageError, match="at least two"):
        raise disdel("runs", "compare", one.run).exception


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--keep", "1"), {"new"}),
        (("--failed",), {"new", "old"}),
        (("--older-than", "5"), {"new", "failed"}),
        (("--older-than", "2", "--failed"), {"new", "old"}),
        (("--keep", "0"), set()),
        (("--keep", "3"), {"new", "old", "failed"}),
    ],
)
def test_pruning(disdel, tmp_path, arguments, left):
    folders = {
        "old": ended(tmp_path, age_days=9),
        "failed": ended(tmp_path, status="failed", age_days=3),
        "new": ended(tmp_path),
    }
    for place, (name, folder) in enumerate(list(folders.items())):
        # Ids sort by time; these were made within one second.
        path = folder.path.with_name(f"2026010{place}-train")
        folder.path.rename(path)
        folders[name] = path
    done = disdel("runs", "prune", *arguments)
    assert done.exit_code == 0
    assert {name for name, path in folders.items() if path.exists()} == left
    assert len(done.stdout.splitlines()) == 3 - len(left)


def cut_off(run_dir, *, resumable=True):
    """A training that was interrupted after a round, or before there was anything to go on from."""
    folder = ended(run_dir, status="failed")
    error = ErrorReport(kind="interrupted", message="interrupted by the user")
    folder.write_report(replace(folder.read_report(), error=error))
    if resumable:
        with claimed(folder.path) as lease:
            job = TrainJob(dataset="digits")
            dataset = ("1.0.0", 10, 0, 10)
            progress = Progress(job=job, dataset=dataset, dataset_digest="0", planned_rounds=1)
            ProgressFiles(folder, lease).begin(progress)
    return folder


def test_a_run_that_was_cut_off_is_called_so_and_kept_while_it_can_be_resumed(disdel, tmp_path):
    goes_on, gone = cut_off(tmp_path), cut_off(tmp_path, resumable=False)
    listed = disdel("runs", "list").stdout
    assert listed.count("interrupted") == 2
    assert "failed" not in listed
    assert f"disdel train --resume {goes_on.run}" in disdel("runs", "show", goes_on.run).stdout
    assert "--resume" not in disdel("runs", "show", gone.run).stdout
    done = disdel("runs", "prune", "--failed")
    assert (goes_on.path.exists(), gone.path.exists()) == (True, False)
    assert f"disdel train --resume {goes_on.run}" in done.stderr


def test_a_folder_of_runs_that_is_none_is_refused(disdel, tmp_path):
    (tmp_path / "file").touch()
    for command in (("list",), ("prune", "--failed")):
        for name, why in (("file", "is no folder"), ("none", "does not exist")):
            with pytest.raises(UsageError, match=why):
                raise disdel("runs", *command, "--run-dir", str(tmp_path / name)).exception
    # No run has been there yet.
    tmp_path.joinpath("file").unlink()
    tmp_path.rmdir()
    assert disdel("runs", "list").exit_code == 0


def activation(folder, number, *, outcome="ok", **whose):
    """An activation, with a log that says its number."""
    one = Activation(
        id=f"{number:032x}",
        action="train",
        task="train",
        round=1,
        segment=number,
        attempt=0,
        memory_mb=256,
        peak_mb=None,
        start="cold",
        wait_ms=0,
        init_ms=0,
        duration_ms=5,
        outcome=outcome,
        **whose,
    )
    log = folder.log(worker=one.worker, activation_id=one.id)
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"log of {number}\n")
    return one


def test_logs_are_those_of_a_client_wherever_it_trained(disdel, tmp_path):
    folder = ended(tmp_path)
    activations = (
        activation(folder, 1, worker=0, clients=(0, 3, 11)),
        activation(folder, 2, worker=1, clients=(3,), outcome="error"),
        activation(folder, 3, worker=1, clients=(1, 13)),
        activation(folder, 4, worker=None),
    )
    folder.write_report(replace(folder.read_report(), activations=activations))

    def numbers(*options):
        lines = disdel("logs", folder.run, *options).stdout.splitlines()
        return [int(line.split()[-1]) for line in lines if line.startswith("log of")]

    assert numbers() == [1, 2, 3, 4]
    assert numbers("--client", "3") == [1, 2]
    assert numbers("--client", "3", "--worker", "1") == [2]
    heads = disdel("logs", folder.run, "--client", "3").stdout.splitlines()[::2]
    assert heads[0].startswith("== train worker 0, client 3 with 2 others round 1 ")
    assert heads[1].startswith("== train worker 1 round 1 segment 2: error")
    with pytest.raises(UsageError, match=r"no activation of client 4; .* clients 0, 1, 3, 11, 13$"):
        raise disdel("logs", folder.run, "--client", "4").exception


def test_a_report_that_names_no_clients_is_refused_for_one(disdel, tmp_path):
    folder = ended(tmp_path)
    folder.write_report(
        replace(folder.read_report(), activations=(activation(folder, 1, worker=0),))
    )
    with pytest.raises(UsageError, match=r"does not say which client .* older version.* --worker"):
        raise disdel("logs", folder.run, "--client", "0").exception


def test_a_federation_is_shown_and_compared_by_its_clients(disdel, tmp_path):
    one, two = ended(tmp_path, seed=1), ended(tmp_path, seed=2)
    scores = [
        ClientScore(client=client, samples=3, loss=1.0, accuracy=client / 20)
        for client in range(20)
    ]
    clients = ClientsReport(asked=13, answered=10)
    one.write_report(
        replace(
            one.read_report(),
            job="federate",
            rounds=(RoundReport(round=1, wall_s=2.5, train_loss=0.75, loss=0.5, clients=clients),),
            client_scores=scores_of(1, "held-out", scores, unscored=2),
            rounds_to_target=1,
        )
    )
    shown = disdel("runs", "show", one.run).stdout
    assert "target    reached in round 1" in shown
    assert "20 clients, own held-out samples (2 more without a score)" in shown
    assert "accuracy 0.4750, worst tenth 0.0250" in shown
    assert "worst off: clients 0, 1, 2, 3, 4" in shown
    row = ["1", "2.50", "10/13", "0.7500", "0.5000", "-"]
    assert row in [line.split() for line in shown.splitlines()]
    told = json.loads(disdel("runs", "show", one.run, "--json", "-").stdout)
    assert told["client_scores"]["accuracy"]["worst_tenth"] == pytest.approx(0.025)

    table = disdel("runs", "compare", one.run, two.run).stdout
    lines = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert lines["rounds_to_target"] == ["1", "-"]
    assert float(lines["worst_tenth_accuracy"][0]) == pytest.approx(0.025)
    plain = disdel("runs", "compare", two.run, two.run).stdout
    assert "worst_tenth" not in plain
    assert one.run in disdel("runs", "list").stdout


def test_a_run_shows_its_plan_splits_and_rounds(disdel, tmp_path):
    folder = ended(tmp_path)
    rounds = (RoundReport(round=1, wall_s=2.5, train_loss=0.75, loss=0.5),)
    split = SplitReport(split="test", samples=360, held_out=True, use="rounds and result")
    told = plan_report(plan())
    report = replace(folder.read_report(), rounds=rounds, splits=(split,), plan=told)
    folder.write_report(report)
    shown = disdel("runs", "show", folder.run).stdout
    assert f"plan      {told.workers} tensorflow workers × {told.memory_mb} MB" in shown
    assert "test      360 samples, held out, for rounds and result" in shown
    assert ["1", "2.50", "0.7500", "0.5000", "-"] in [line.split() for line in shown.splitlines()]


def test_a_broken_report_is_told_with_another_step_than_to_name_a_run(disdel, tmp_path):
    folder = ended(tmp_path)
    folder.report.write_text("{")
    with pytest.raises(UsageError, match=r"damaged JSON.*name another run"):
        raise disdel("runs", "show", folder.run).exception


def test_a_run_is_named_by_its_folder_as_a_shell_completes_it(disdel, tmp_path):
    folder = ended(tmp_path)
    assert folder.run in disdel("runs", "show", f"{folder.run}/").stdout


def test_an_inference_is_not_resumed(tmp_path):
    folder = ended(tmp_path)
    folder.write_report(replace(folder.read_report(), job="infer"))
    with pytest.raises(UsageError, match="is an inference, and only trainings can be resumed"):
        read_resumed(folder)


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/null"])
def test_a_run_directory_that_is_a_file_is_refused_before_any_server_is_started(tmp_path, place):
    (tmp_path / "file").touch()
    check_run_dir(tmp_path / "new" / "runs")
    with pytest.raises(UsageError, match="is no folder; name another place with --run-dir"):
        check_run_dir(tmp_path / place)


def test_pruning_wants_to_know_which(disdel, tmp_path):
    folder = ended(tmp_path)
    with pytest.raises(UsageError, match="say which runs"):
        raise disdel("runs", "prune").exception
    assert folder.path.exists()


def test_a_run_that_goes_on_is_not_pruned(disdel, tmp_path):
    folder = ended(tmp_path, status="running")
    with claimed(folder.path):
        assert disdel("runs", "prune", "--keep", "0").stdout == ""
        assert "running" in disdel("runs", "list").stdout
    assert "lost" in disdel("runs", "list").stdout


def test_a_run_with_something_elsewhere_is_not_pruned(disdel, tmp_path, redis_url):
    folder = ended(tmp_path)
    write_places(folder.path, [Place(platform="openwhisk", address=None, store=redis_url)])
    said = disdel("runs", "prune", "--keep", "0").stderr
    assert f"disdel stop {folder.run} removes it" in said
    assert folder.path.exists()


NEWER = b'{"version": 99, "status": "running"}'


def test_a_run_of_another_release_is_not_taken_for_a_failed_one(disdel, tmp_path):
    folder = ended(tmp_path)
    folder.report.write_bytes(NEWER)
    done = disdel("runs", "prune", "--failed")
    assert done.stdout == ""
    assert "nobody knows how it ended" in done.stderr
    assert "version 99, and this disdel reads versions 1 and 2" in done.stderr
    assert folder.path.exists()


def test_what_a_run_of_another_release_has_left_is_removed(disdel, tmp_path, redis_url):
    folder = ended(tmp_path)
    folder.report.write_bytes(NEWER)
    write_places(folder.path, [Place(platform="openwhisk", address=None, store=redis_url)])
    assert "removed what it had left" in disdel("stop", folder.run).stdout
    assert read_places(folder.path) == ()
    assert folder.report.read_bytes() == NEWER


def test_a_run_whose_controller_was_killed_is_lost_and_can_be_stopped(disdel, tmp_path):
    folder = ended(tmp_path, status="running")
    assert folder.read_report().error.kind == "killed"
    assert "was dead" in disdel("stop", folder.run).stdout
    assert json.loads(folder.report.read_text())["status"] == "lost"
    with pytest.raises(UsageError, match="is not running, and has left nothing"):
        raise disdel("stop", folder.run).exception


def test_what_could_not_be_removed_stays_on_record(disdel, tmp_path, redis_url):
    folder, key = ended(tmp_path), RunKeys.of_turn("RUN", "turn").state(1)
    store = RedisStore(redis_url)
    key = key.replace("RUN", folder.run)
    store.put(key, b"a state")
    user = RunUser(run=folder.run)
    store.make_user(user.name, user.rules)
    away = Place(platform="openwhisk", address=None, store="redis://:secret@127.0.0.1:1")
    here = Place(platform="openwhisk", address=None, store=redis_url, redis_user=user.name)
    write_places(folder.path, [away, here])
    assert (folder.path / "controller.json").stat().st_mode & 0o077 == 0
    failed = disdel("stop", folder.run).exception
    assert "no Redis answers at redis://***@127.0.0.1:1" in str(failed)
    assert "secret" not in str(failed)
    assert store.open(key) is None
    store.close()
    with pytest.raises(ConnectionRefused):
        RedisStore(user.url(redis_url))
    assert read_places(folder.path) == (away,)
    assert "removed" in disdel("stop", folder.run, "--forget").stdout
    assert not (folder.path / "controller.json").exists()


def test_what_a_platform_holds_that_is_not_installed_here_stays_on_record(
    disdel, tmp_path, redis_url
):
    folder = ended(tmp_path)
    place = Place(platform="elsewhere", address="there", store=redis_url)
    write_places(folder.path, [place])
    with pytest.raises(UsageError, match=r"not all of .* there is none of that name.*--forget"):
        raise disdel("stop", folder.run).exception
    assert read_places(folder.path) == (replace(place, store=None),)
    assert disdel("stop", folder.run, "--forget").exit_code == 0
    assert read_places(folder.path) == ()


@pytest.mark.parametrize(
    ("embedded", "platform"), [({"embedded": True}, "embedded"), ({}, "openwhisk")]
)
def test_a_record_of_an_earlier_release_is_read(tmp_path, embedded, platform):
    place = {"apihost": "http://host", "insecure": False, "redis": None, **embedded}
    (tmp_path / "controller.json").write_text(json.dumps({"places": [place]}))
    [read] = read_places(tmp_path)
    assert read == Place(platform=platform, address="http://host", store=None)


def test_a_record_that_cannot_be_read_says_what_to_remove(disdel, tmp_path):
    folder = ended(tmp_path)
    (folder.path / "controller.json").write_text("{half")
    with pytest.raises(UsageError, match=f"perhaps a Redis user are disdel-{folder.run}"):
        raise disdel("stop", folder.run).exception


_RUN = """
import pathlib, time
from disdel.controller.runs.lease import claimed
from disdel.host.interrupts import taken_as_interrupts

with taken_as_interrupts(), claimed(pathlib.Path(".")):
    try:
        print("up", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pathlib.Path("interrupted").touch()
"""


def test_a_live_controller_is_interrupted(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], cwd=tmp_path, stdout=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.readline()
        interrupt(tmp_path)
        assert (tmp_path / "interrupted").is_file()
        assert not is_driven(tmp_path)
    assert process.returncode == 0


def test_a_run_in_a_thread_is_not_interrupted_from_outside(tmp_path):
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(claim, tmp_path).result()
        with pytest.raises(DisdelError, match="interrupt it there"):
            interrupt(tmp_path)
        held.release()
