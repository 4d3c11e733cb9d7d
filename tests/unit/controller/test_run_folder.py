from pathlib import Path

import pytest

from disdel.controller.runs.run_folder import (
    create_run_folder,
    find_run,
    latest_trained,
    run_folders,
)
from disdel.errors import UsageError
from disdel.types import RunReport


def finished(run_dir, job="train", dataset="digits", *, model=True):
    folder = create_run_folder(run_dir, job, dataset)
    folder.write_report(
        RunReport(
            run=folder.run, job=job, dataset=dataset, platform="embedded", status="ok", wall_s=1.0
        )
    )
    if model:
        folder.model.write_bytes(b"")
    return folder


def test_a_run_is_found_by_any_part_that_is_enough(tmp_path):
    run = finished(tmp_path)
    finished(tmp_path, "infer")
    assert find_run(tmp_path, run.run) == run
    assert find_run(tmp_path, run.run[-4:]) == run


def test_a_run_may_be_named_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = finished(Path("runs"))
    for named in (
        f"runs/{run.run}",
        f"runs/{run.run}/",
        f"./runs/{run.run}",
        f"runs/{run.run[:16]}",
    ):
        assert find_run(Path("runs"), named) == run
    assert find_run(Path("runs"), f"{run.path}/report.json") == run
    assert find_run(Path("elsewhere"), str(run.path.absolute())).path == run.path.absolute()
    monkeypatch.chdir(run.path)
    assert find_run(Path("runs"), ".").run == run.run
    monkeypatch.chdir("..")
    assert find_run(Path("elsewhere"), run.run).run == run.run
    for named in ("runs/none", "/", "..", "runs"):
        with pytest.raises(UsageError, match="there is no run"):
            find_run(Path("elsewhere"), named)


def test_what_is_not_enough_lists_the_candidates(tmp_path):
    finished(tmp_path)
    finished(tmp_path, "infer")
    with pytest.raises(UsageError, match=r"names 2 runs in .*disdel runs list"):
        find_run(tmp_path, "2")
    with pytest.raises(UsageError, match="there is no run"):
        find_run(tmp_path, "nothing")


def test_the_latest_training_that_left_a_model(tmp_path):
    run = finished(tmp_path)
    finished(tmp_path, model=False)
    finished(tmp_path, "infer")
    finished(tmp_path, dataset="mnist")
    assert latest_trained(tmp_path, "digits") == run


def test_a_federation_has_trained_as_well(tmp_path):
    finished(tmp_path, dataset="mnist")
    run = finished(tmp_path, "federate")
    assert latest_trained(tmp_path, "digits") == run


def test_nothing_trained_yet_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="train first: disdel train digits"):
        latest_trained(tmp_path / "none", "digits")


def test_a_data_set_with_configuration_and_version_makes_one_folder(tmp_path):
    run = create_run_folder(tmp_path, "train", "emnist/letters:3.1.0")
    assert run.path.parent == tmp_path
    assert "emnist-letters-3.1.0" in run.run


def test_a_report_that_cannot_be_read_is_told(tmp_path):
    run = finished(tmp_path)
    run.report.write_text("{half")
    [found] = run_folders(tmp_path)
    with pytest.raises(UsageError, match=r"report\.json is damaged JSON"):
        found.read_report()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="name another place with --run-dir"):
        create_run_folder(tmp_path / "file", "train", "digits")
