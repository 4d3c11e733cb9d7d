"""Federations on real containers, with numpy alone: who trains where changes no bit."""

import math
import re

import numpy as np
import pytest

from tests.support.federations import (
    FEDERATION,
    ended,
    federated,
    federated_as,
    killed_in_round_3,
    model,
    report_in,
    updates,
)


def test_containers_kills_and_a_resume_change_no_bit(tmp_path, undisturbed):
    alone, wanted = undisturbed
    assert [len([e for e in alone["ledger"] if e["round"] == r]) for r in (1, 2, 3, 4)] == [12] * 4
    # Who is asked differs from round to round, and who was asked has answered.
    assert len({e["client"] for e in alone["ledger"]}) > 12

    many = federated(tmp_path / "many", "--containers", "4")
    assert updates(many) == updates(alone)
    assert model(many, tmp_path / "many") == wanted
    assert {e["worker"] for e in many["ledger"]} == {0, 1, 2, 3}
    # One activation trains all clients of a container in a round.
    assert len([a for a in many["activations"] if a["task"] == "train"]) == 16

    killed = federated(tmp_path / "killed", "--containers", "2", "--action-env", "KILL=once")
    assert killed["totals"]["failed"] > 0
    assert updates(killed) == updates(alone)
    assert model(killed, tmp_path / "killed") == wanted

    folder = tmp_path / "resumed"
    folder.mkdir()
    job = ("digits", "--runtime", "tensorflow", *FEDERATION, "--containers", "3")
    ended(folder, "--resume", killed_in_round_3(folder, *job))
    resumed = report_in(folder)
    assert resumed["resumed_after"] >= 2
    assert updates(resumed) == updates(alone)
    assert model(resumed, folder) == wanted


def test_an_average_is_that_of_those_who_answered(tmp_path):
    report = federated(
        tmp_path / "some",
        *("--containers", "2", "--rounds", "2", "--clients-per-round", "6", "--min-clients", "1"),
        *("--action-env", "KILL=always"),
    )
    for entry in report["rounds"]:
        number, clients = entry["round"], entry["clients"]
        doomed = {
            client
            for client in range(40)
            if np.random.default_rng((number, client)).random() < 1 / 3
        }
        answered = {e["client"] for e in report["ledger"] if e["round"] == number}
        dropped = {one["client"] for one in clients["dropped"]}
        assert dropped == (answered | dropped) & doomed
        assert clients["asked"] == 6 == len(answered) + len(dropped)
        assert clients["answered"] == len(answered)
        assert all(e["weight"] == e["samples"] for e in report["ledger"])
        losses = [e["loss"] * e["samples"] for e in report["ledger"] if e["round"] == number]
        samples = sum(e["samples"] for e in report["ledger"] if e["round"] == number)
        assert entry["train_loss"] == pytest.approx(math.fsum(losses) / samples)
    assert report["rounds"][0]["clients"]["dropped"]


def test_what_comes_when_its_round_is_over_is_in_a_later_average(tmp_path):
    report = federated(
        tmp_path / "late",
        *("--containers", "2", "--clients-per-round", "6", "--over-select", "2"),
        *("--late", "weigh:power=1", "--action-env", "SLOW=1", "--action-env", "KILL=once"),
    )
    stale = [entry for entry in report["ledger"] if entry["staleness"]]
    assert [entry for entry in stale if (entry["worker"], entry["staleness"]) == (1, 1)]
    for entry in report["ledger"]:
        assert entry["weight"] == pytest.approx(entry["samples"] / (1 + entry["staleness"]))
    for entry in report["rounds"]:
        number, clients = entry["round"], entry["clients"]
        assert clients["answered"] >= 6
        assert clients["late"] == len([e for e in stale if e["round"] == number])
    told = {one["why"] for one in report["rounds"][0]["clients"]["dropped"]}
    assert "late: 6 clients had answered; it goes on, for a later round" in told
    assert report["rounds"][-1]["loss"] < report["rounds"][0]["loss"]
    # What went on when its round was over is in the bill, and once.
    records = [one["id"] for one in report["activations"]]
    assert len(set(records)) == len(records)
    trained = [one for one in report["activations"] if one["task"] == "train"]
    assert [one for one in trained if (one["round"], one["worker"], one["outcome"]) == (1, 1, "ok")]


def test_a_round_that_too_few_answer_fails_and_names_causes(tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    said = ended(
        folder,
        *("digits", "--runtime", "tensorflow", *FEDERATION, "--containers", "2"),
        *("--clients-per-round", "4", "--action-env", "KILL=always"),
        code=1,
    )
    assert "of 4 clients answered, and 4 must (--clients-per-round)" in said
    assert re.search(r"\. clients? \d+(, \d+)*: [^.]+\. --min-clients \d goes on", said)
    assert report_in(folder)["error"]["kind"] == "round-failed"


def test_masks_change_no_bit_and_nobody_in_the_store_sees_an_update(tmp_path, undisturbed):
    plain, wanted = undisturbed
    masked = federated(
        tmp_path / "masked",
        *("--containers", "2", "--secure-aggregation", "--action-env", "KILL=once"),
    )
    assert masked["totals"]["failed"] > 0
    assert model(masked, tmp_path / "masked") == wanted
    assert [e["client"] for e in masked["ledger"]] == [e["client"] for e in plain["ledger"]]
    # The losses of all together are told, and nothing of single ones.
    for one, other in zip(masked["rounds"], plain["rounds"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    assert {(e["checksum"], e["loss"]) for e in masked["ledger"]} == {("", None)}


OWN_DATA = """
import os
import pathlib
import signal

import numpy as np

def counts():
    return [12 + client for client in range(6)]

def load(client, split):
    killed = pathlib.Path("FOLDER", f"killed-{client}")
    if os.environ.get("KILL") and client in (1, 4) and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    drawn = np.random.default_rng((client, split == "test"))
    n = counts()[client]
    return drawn.integers(0, 17, (n, 8, 8, 1), dtype=np.uint8), drawn.integers(0, 10, n)
"""


def test_masks_change_no_bit_where_clients_have_their_own_data(tmp_path):
    (tmp_path / "own.py").write_text(OWN_DATA.replace("FOLDER", str(tmp_path)))
    job = ("--data", f"{tmp_path}/own.py:load", "--batch", "5", "--rounds", "2")
    plain = federated_as(tmp_path / "plain", *job)
    # Nobody counts before clients are asked, which kills some.
    uncounted = OWN_DATA.replace("counts()", "have()").replace("FOLDER", str(tmp_path))
    (tmp_path / "own.py").write_text(uncounted)
    masked = federated_as(
        tmp_path / "masked",
        *(*job, "--clients", "6", "--secure-aggregation", "--action-env", "KILL=once"),
    )
    assert masked["totals"]["failed"] >= 2
    assert "count" in {a["task"] for a in masked["activations"]}
    assert model(masked, tmp_path / "masked") == model(plain, tmp_path / "plain")
    assert [e["samples"] for e in masked["ledger"]] == [*range(12, 18)] * 2
    assert {(e["checksum"], e["loss"]) for e in masked["ledger"]} == {("", None)}


ENDING = """
import os
import numpy as np
def have(): return [12] * 6
def load(client, split):
    if client in (1, 4):
        os._exit(3)
    drawn = np.random.default_rng(client)
    return drawn.integers(0, 17, (12, 8, 8, 1), dtype=np.uint8), drawn.integers(0, 10, 12)
"""


@pytest.mark.parametrize("counts", ["counts", "have"])
def test_clients_that_end_their_containers_are_found_told_and_rest(tmp_path, counts):
    """Whether they do so before a round, where nobody says how many samples they have, or in it."""
    (tmp_path / "own.py").write_text(ENDING.replace("have", counts))
    job = ("--data", f"{tmp_path}/own.py:load", "--clients", "6", "--clients-per-round", "6")
    reports = [
        federated_as(
            tmp_path / containers,
            *(*job, "--min-clients", "2", "--rounds", "5", "--containers", containers),
        )
        for containers in ("1", "2")
    ]
    for report in reports:
        dropped = [entry["clients"]["dropped"] for entry in report["rounds"]]
        told = [[(one["client"], one["ended_container"]) for one in round_] for round_ in dropped]
        assert told == 3 * [[(1, True), (4, True)]] + 2 * [[]]
        assert [entry["clients"]["asked"] for entry in report["rounds"]] == [6, 6, 6, 4, 4]
        # What was tried for them is no memory of others.
        later = [a for a in report["activations"] if a["round"] in (2, 3)]
        grown = [a for a in later if a["memory_mb"] > report["plan"]["memory_mb"]]
        assert {a["outcome"] for a in grown} == {"error"}
        # Found out in the first round, they take nobody with them in the others.
        lost = [tuple(a["clients"]) for a in later if a["outcome"] == "error"]
        assert sorted(lost) == [(1,)] * 6 + [(4,)] * 6
    one, two = (model(report, tmp_path / name) for report, name in zip(reports, "12", strict=True))
    assert one == two


def test_a_masked_round_ends_with_those_who_are_left(tmp_path):
    report = federated(
        tmp_path / "some",
        *("--containers", "2", "--rounds", "1", "--min-clients", "2", "--secure-aggregation"),
        *("--threshold", "0.51", "--seed", "3", "--action-env", "KILL=always"),
    )
    clients = report["rounds"][0]["clients"]
    assert clients["dropped"]
    assert clients["answered"] == 12 - len(clients["dropped"]) == len(report["ledger"])


# Of forty clients one is expected: some rounds ask nobody, and are noise alone.
PRIVATE = (
    *("--average", "equal", "--dp-clip", "0.5", "--dp-noise", "1.0", "--dp-seed", "1"),
    *("--select", "poisson", "--clients-per-round", "1"),
)


def test_epsilon_grows_stops_a_run_and_goes_on_after_a_resume(tmp_path):
    whole = federated(tmp_path / "whole", *PRIVATE)
    spent = [entry["privacy"]["epsilon"] for entry in whole["rounds"]]
    assert spent == sorted(set(spent))
    assert len(spent) == 4
    assert 0 in [entry["clients"]["answered"] for entry in whole["rounds"]]

    budget = str((spent[1] + spent[2]) / 2)
    stopped = federated(tmp_path / "stopped", *PRIVATE, "--dp-epsilon", budget)
    assert [entry["privacy"]["epsilon"] for entry in stopped["rounds"]] == spent[:2]
    assert "--dp-epsilon" in stopped["stopped"]

    folder = tmp_path / "resumed"
    resumed = federated(folder, *PRIVATE, "--rounds", "2")
    [run] = (folder / "runs").iterdir()
    ended(folder, "--resume", run.name, "--rounds", "4")
    resumed = report_in(folder)
    assert [entry["privacy"]["epsilon"] for entry in resumed["rounds"]] == spent
    # Noise and cohorts of a seed are made again.
    assert model(resumed, folder) == model(whole, tmp_path / "whole")


def test_models_are_scored_by_client_and_before_the_average_and_no_bit_changes(tmp_path):
    holdout = ("--partition", "shards:2", "--client-holdout", "0.2")
    plain = federated(tmp_path / "plain", "--containers", "2", *holdout)
    asked = ("--evaluate-clients", "2", "--personalize", "2", "--keep-personal", "--before-average")
    scored = federated(
        tmp_path / "scored", "--containers", "3", *holdout, *asked, "--action-env", "KILL=once"
    )
    assert scored["totals"]["failed"] > 0
    assert updates(scored) == updates(plain)
    assert model(scored, tmp_path / "scored") == model(plain, tmp_path / "plain")

    # With or without what else is asked for, the model is scored by those who hold samples out.
    final = scored["client_scores"]
    assert (final["round"], final["part"], final["clients"]) == (4, "held-out", 40)
    assert [one["client"] for one in final["by_client"]] == list(range(40))
    for one, other in zip(final["by_client"], plain["client_scores"]["by_client"], strict=True):
        assert (one["accuracy"], one["samples"]) == (other["accuracy"], other["samples"])
        assert one["loss"] == pytest.approx(other["loss"])
    accuracies = sorted(one["accuracy"] for one in final["by_client"])
    assert final["accuracy"]["worst_tenth"] == pytest.approx(sum(accuracies[:4]) / 4)
    assert final["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 40)
    # Two labels are easier than ten for who trains on them alone.
    assert final["personal_accuracy"]["mean"] > final["accuracy"]["mean"]

    kept = {
        int(path.stem): path.read_bytes()
        for path in (tmp_path / "scored" / scored["model"]).parent.glob("personal/*.keras")
    }
    assert sorted(kept) == list(range(40))
    assert len({*kept.values(), model(scored, tmp_path / "scored")}) == 41

    due = [entry["client_scores"] for entry in scored["rounds"]]
    assert [None if one is None else one["round"] for one in due] == [None, 2, None, 4]
    assert due[3] == {**final, "by_client": []}
    for entry in scored["rounds"]:
        own = [e["own_accuracy"] for e in scored["ledger"] if e["round"] == entry["round"]]
        assert len(own) == 12
        assert entry["clients"]["own_accuracy"]["mean"] == pytest.approx(sum(own) / 12)
    # Many clients an activation.
    assert sum(a["task"] == "score" and a["outcome"] == "ok" for a in scored["activations"]) < 40


def test_updates_are_taken_as_they_come_and_lost_clients_are_asked_again(tmp_path):
    report = federated(
        tmp_path / "buffered",
        *("--containers", "3", "--strategy", "fedbuff:buffer=6", "--rounds", "6"),
        *("--client-holdout", "0.2", "--before-average", "--action-env", "KILL=once"),
    )
    assert report["totals"]["failed"] > 0
    assert report["client_scores"]["clients"] == 40
    assert all(e["own_loss"] is not None and e["bytes"] > 0 for e in report["ledger"])
    for number in range(1, 7):
        lines = [e for e in report["ledger"] if e["round"] == number]
        assert len(lines) == 6
        assert all(
            e["weight"] == pytest.approx(e["samples"] * (1 + e["staleness"]) ** -0.5) for e in lines
        )
    # Nobody is asked a second time before all of a draw have been asked.
    assert len({e["client"] for e in report["ledger"]}) > 12
    assert report["rounds"][-1]["loss"] < report["rounds"][0]["loss"]
    # An activation has one client, and a stored sum of it.
    assert all(a["worker"] in {0, 1, 2} for a in report["activations"] if a["task"] == "train")

    folder = tmp_path / "mixed"
    asynchronous = ("--strategy", "fedasync:max_staleness=4", "--containers", "2", "--rounds", "30")
    folder.mkdir()
    job = ("digits", "--runtime", "tensorflow", *FEDERATION, *asynchronous)
    ended(folder, "--resume", killed_in_round_3(folder, *job))
    resumed = report_in(folder)
    assert resumed["resumed_after"] >= 2
    assert [e["round"] for e in resumed["ledger"]] == [*range(1, 31)]
    assert max(e["staleness"] for e in resumed["ledger"]) <= 4
