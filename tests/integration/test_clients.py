"""Clients on real containers: whichever runs them, the weights are the same."""

import json

import pytest

from tests.support.command import disdel


def trained(folder, *arguments):
    """The report of a training with numpy alone, on an embedded platform of its own."""
    job = ("train", "digits", "--runtime", "tensorflow", "--epochs", "2", *arguments)
    disdel(*job, "--quiet", "--json", "report.json", cwd=folder, linear=True)
    return json.loads((folder / "report.json").read_text())


def test_clients_in_turn_come_to_the_weights_of_clients_side_by_side(tmp_path):
    side_by_side = trained(tmp_path, "--workers", "3")
    in_turn = trained(tmp_path, "--clients", "3", "--workers", "2")
    for report in (side_by_side, in_turn):
        report["updates"] = [(e["round"], e["client"], e["checksum"]) for e in report["ledger"]]
    assert in_turn["updates"] == side_by_side["updates"]
    assert in_turn["rounds"][-1]["loss"] == pytest.approx(side_by_side["rounds"][-1]["loss"])
    assert [share["worker"] for share in in_turn["plan"]["shards"]] == [0, 0, 1]
    train = [a for a in in_turn["activations"] if a["task"] == "train"]
    assert {a["worker"] for a in train if a["start"] == "cold"} == {0, 1}
    assert len(train) == 6
