"""What is measured in real containers makes the next plan: narrower, and still above the need."""

import json

import pytest

from tests.support import command

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose `calibrated.json` is what `disdel calibrate` found, with its history."""
    folder = tmp_path_factory.mktemp("calibration")
    plan(folder, "before.json")
    disdel(folder, "calibrate", "--json", "calibrated.json")
    return folder


def disdel(folder, *arguments):
    own = {"DISDEL_STATE_DIR": folder / "state", "DISDEL_DATA_DIR": folder / "data"}
    command.disdel(*arguments, cwd=folder, **own)


def plan(folder, name):
    disdel(folder, "plan", "digits", "--runtime", "tensorflow", "--json", name)
    return json.loads((folder / name).read_text())["plan"]


def test_calibration_says_what_the_runtime_takes(folder):
    found = json.loads((folder / "calibrated.json").read_text())
    assert found["containers"] >= 3
    assert 100 < found["runtime"]["anonymous_mb"] < 600
    assert found["runtime"]["cold_start_s"] > 0
    assert not list(folder.glob("runs/*"))


def test_plans_rest_on_it(folder):
    before = json.loads((folder / "before.json").read_text())["plan"]
    assert "shipped constants" in before["basis"]
    assert "measured on this platform" in plan(folder, "after.json")["basis"]


def test_a_network_that_was_trained_before_gets_a_tight_limit(folder):
    disdel(
        folder, "train", "digits", "--runtime", "tensorflow", "--epochs", 2, "--json", "first.json"
    )
    disdel(
        folder, "train", "digits", "--runtime", "tensorflow", "--epochs", 2, "--json", "second.json"
    )
    first, second = (
        json.loads((folder / name).read_text()) for name in ("first.json", "second.json")
    )
    assert second["plan"]["estimate_mb"]["saf"] < first["plan"]["estimate_mb"]["saf"]
    for report, ratio in ((first, 1.6), (second, 1.25)):
        used = [a for a in report["activations"] if a["action"] == "train"]
        assert {a["outcome"] for a in used} == {"ok"}
        need_mb = max(a["working_set_mb"] for a in used)
        limit_mb = report["plan"]["memory_mb"]
        assert need_mb <= limit_mb <= ratio * need_mb
        # What the platform charges leaves out libraries that another container pays for.
        assert all(a["peak_mb"] <= a["working_set_mb"] + 32 for a in used)
