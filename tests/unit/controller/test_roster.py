"""The roster of a federation: who is asked, and what it remembers of the rounds."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from disdel.controller.federating.roster import Roster, held_out
from disdel.errors import RoundFailed, UsageError
from disdel.types import ClientsReport, DroppedClient, FederateJob, LedgerEntry, RoundReport
from disdel.types.assignment import Assignment
from disdel.types.evaluating import Evaluating


@dataclass(frozen=True)
class Round:
    """What an observer is told of a round, and what progress keeps of it."""

    report: RoundReport
    ledger: tuple[LedgerEntry, ...]


@dataclass(frozen=True)
class Rounds:
    rounds: tuple[Round, ...]


def roster(clients=20, asked=5, **options):
    job = FederateJob(
        dataset="digits", clients=clients, clients_per_round=asked, min_clients=1, **options
    )
    sizes = np.arange(1, clients + 1)
    return Roster(job, Assignment.of_ranges(sizes, lambda: np.arange(sizes.sum())))


def a_round(number, cohort, *, dropped=(), loss=float, train_s=float):
    ledger = tuple(
        LedgerEntry(
            round=number,
            worker=0,
            attempt=0,
            samples=1,
            checksum="",
            client=client,
            loss=loss(client),
            train_s=train_s(client),
        )
        for client in cohort
        if client not in dropped
    )
    clients = ClientsReport(
        asked=len(cohort),
        answered=len(ledger),
        dropped=tuple(DroppedClient(client=client, why="late") for client in dropped),
    )
    return Round(RoundReport(round=number, wall_s=1.0, train_loss=1.0, clients=clients), ledger)


def run(made, rounds, **told):
    """The cohorts of some rounds, each told of when it is over."""
    done = []
    for number in range(1, rounds + 1):
        done.append(a_round(number, made.cohort(number), **told))
        asyncio.run(made.round_done(done[-1]))
    return done


SELECTIONS = ["uniform", "size", "round-robin", "power-of-choice", "fastest", "warm"]


@pytest.mark.parametrize("select", SELECTIONS)
def test_a_run_that_is_resumed_asks_whom_it_would_have_asked(select):
    whole = roster(select=select, available="0.8")
    done = run(whole, 6)
    resumed = roster(select=select, available="0.8")
    asyncio.run(resumed.run_started(Rounds(tuple(done[:4]))))
    for number in (5, 6):
        asked = [entry.client for entry in done[number - 1].ledger]
        assert resumed.cohort(number) == asked
        asyncio.run(resumed.round_done(done[number - 1]))
    assert resumed.cohort(7) == whole.cohort(7)


@pytest.mark.parametrize("select", SELECTIONS)
def test_a_cohort_is_the_same_however_often_it_is_looked_at(select):
    made = roster(select=select)
    run(made, 3)
    assert made.cohort(4) == made.cohort(4)


def test_who_is_late_was_asked_all_the_same():
    made = roster(select="round-robin")
    asyncio.run(made.round_done(a_round(1, made.cohort(1), dropped=(0, 3))))
    assert made.cohort(2) == [5, 6, 7, 8, 9]


def test_losses_and_times_of_the_ledger_choose():
    slow = roster(select="fastest:floor=0")
    run(slow, 5, train_s=lambda client: 20.0 - client)
    assert slow.cohort(6) == [15, 16, 17, 18, 19]
    hard = roster(select="power-of-choice:d=20")
    run(hard, 5, loss=lambda client: 20.0 - client)
    assert hard.cohort(6) == [0, 1, 2, 3, 4]


def test_a_trace_says_who_is_asked(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("client,first_round,last_round\n3,1,1\n7,1,\n9,2,2\n")
    made = roster(available=str(trace))
    assert [made.cohort(number) for number in (1, 2, 3)] == [[3, 7], [7, 9], [7]]


def test_fewer_than_must_answer_are_told_with_their_round(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("client,first_round,last_round\n3,1,1\n")
    made = roster(available=str(trace))
    with pytest.raises(RoundFailed, match="round 2 failed: 0 of 20 clients are there, by --availa"):
        made.cohort(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": "nearest"}, "unknown --select 'nearest'; known: fastest"),
        ({"select": "power-of-choice:d=3"}, "of 3 candidates no 5 clients can be chosen"),
        ({"available": "2"}, "--available is a probability"),
        ({"available": "nowhere.csv"}, "nowhere.csv cannot be read"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_runs(options, message):
    with pytest.raises(UsageError, match=message):
        roster(**options)


@pytest.mark.parametrize(
    ("owned", "share", "held"),
    [(10, 0.2, 2), (5, 0.5, 3), (1, 0.9, 0), (2, 0.9, 1), (3, 0.1, 0), (0, 0.5, 0)],
)
def test_a_client_holds_out_a_share_rounded_and_never_all(owned, share, held):
    assert held_out(np.array([owned]), share).tolist() == [held]


def test_a_share_that_holds_out_nobodys_samples_is_refused():
    with pytest.raises(UsageError, match=r"--client-holdout 0.1 holds out no .* largest has 4,"):
        roster(4, 2, evaluating=Evaluating(holdout=0.1))
    assert roster(5, 2, evaluating=Evaluating(holdout=0.1)).scored == [4]


def test_samples_held_out_are_not_trained_on_and_both_are_the_clients():
    whole = roster(20)
    made = roster(20, evaluating=Evaluating(holdout=0.25))
    again = roster(20, evaluating=Evaluating(holdout=0.25))
    for client in range(20):
        held, kept = made.positions(client, "held-out"), made.positions(client)
        assert len(held) == made.samples(client, "held-out")
        assert len(kept) == made.samples(client)
        assert sorted([*held, *kept]) == whole.positions(client).tolist()
        assert again.positions(client, "held-out").tolist() == held.tolist()
    # Not the first or the last ones of each.
    assert any(np.diff(made.positions(client, "held-out")).max() > 1 for client in range(12, 20))
    # Who has a single sample trains on it, and is not scored.
    assert 0 not in made.scored
    assert whole.scored == list(range(20))


def test_samples_that_are_left_out_are_not_those_held_out():
    made = roster(20, evaluating=Evaluating(holdout=0.25), client_samples=3)
    assert made.samples(19) == 3
    assert made.samples(19, "held-out") == 5
    assert not set(made.positions(19)) & set(made.positions(19, "held-out"))


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ([0, 0, 0], {}, "none of 3 clients has samples to train on: choose another --partition"),
        ([0, 0, 0], {"select": "poisson"}, "none of 3 clients has samples"),
        (
            [0, 0, 0],
            {"data": "own.py:load"},
            r"none of 3 .*: look at counts\(\) beside own.py:load",
        ),
        ([0, 9, 0], {"data": "own.py:load"}, r"asks 2 clients, and 1 of 3 have .* counts\(\)"),
        ([0, 9, 0], {}, "lower --clients-per-round, or choose another --partition or --seed"),
    ],
)
def test_too_few_with_samples_are_refused_with_who_says_so(sizes, options, message):
    job = FederateJob(dataset="digits", clients=3, clients_per_round=2, **options)
    with pytest.raises(UsageError, match=message):
        Roster(job, Assignment(sizes=np.array(sizes), order=lambda: np.arange(9)))
