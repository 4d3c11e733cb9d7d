"""Clients that end their containers round after round rest, and are asked again."""

import asyncio

import numpy as np
import pytest

from disdel.controller.federating.roster import Roster
from disdel.types import ClientsReport, DroppedClient, FederateJob, LedgerEntry, RoundReport
from disdel.types.assignment import Assignment
from disdel.types.privacy import Privacy
from tests.unit.controller.test_roster import Round, Rounds

KILLER, CLIENTS = 3, 6


def roster(**options):
    options = {"min_clients": 1, **options}
    job = FederateJob(dataset="digits", clients=CLIENTS, **options)
    return Roster(job, Assignment.of_ranges([2] * CLIENTS, lambda: np.arange(2 * CLIENTS)))


def a_round(number, cohort, *, ends, ended_container=True):
    """A round in which some of the cohort do not answer."""
    entries = [
        LedgerEntry(round=number, worker=0, attempt=0, samples=1, checksum="", client=client)
        for client in cohort
        if client not in ends
    ]
    dropped = tuple(
        DroppedClient(client=client, why="exited", ended_container=ended_container)
        for client in ends
        if client in cohort
    )
    clients = ClientsReport(asked=len(cohort), answered=len(entries), dropped=dropped)
    report = RoundReport(round=number, wall_s=1.0, train_loss=1.0, clients=clients)
    return Round(report, tuple(entries))


def asked(made, rounds, **kind):
    """Whom rounds have asked in which `KILLER` ends its container, and the rounds."""
    done = []
    for number in range(1, rounds + 1):
        done.append(a_round(number, made.cohort(number), ends=[KILLER], **kind))
        asyncio.run(made.round_done(done[-1]))
    return done


def rounds_with(client, done):
    dropped = {one.report.round: [d.client for d in one.report.clients.dropped] for one in done}
    return [number for number, clients in dropped.items() if client in clients]


def test_a_client_that_ends_its_container_is_asked_a_bounded_number_of_times():
    made = roster()
    done = asked(made, 30)
    assert rounds_with(KILLER, done) == [1, 2, 3, 14, 25]
    assert len(made.cohort(31)) == CLIENTS - 1
    told = made.rests.begun()
    assert told[0] == (
        "client 3 has ended its container in each of the 3 rounds in which it was last asked, and "
        "is not asked before round 14: exited"
    )
    assert len(told) == 3
    assert made.rests.begun() == []


def test_who_answers_after_a_rest_begins_anew():
    made = roster()
    asked(made, 13)
    asyncio.run(made.round_done(a_round(14, made.cohort(14), ends=[])))
    assert not made.rests.is_suspect(KILLER)
    for number in (15, 16):
        asyncio.run(made.round_done(a_round(number, made.cohort(number), ends=[KILLER])))
    assert KILLER in made.cohort(17)
    assert made.rests.is_suspect(KILLER)


def test_a_resumed_run_asks_whom_it_would_have_asked():
    whole = roster()
    done = asked(whole, 8)
    resumed = roster()
    asyncio.run(resumed.run_started(Rounds(tuple(done[:5]))))
    for number in range(6, 16):
        assert resumed.cohort(number) == whole.cohort(number)


def test_who_is_lost_or_refused_for_another_reason_is_asked_in_each_round():
    done = asked(roster(), 8, ended_container=False)
    assert rounds_with(KILLER, done) == list(range(1, 9))


def test_a_round_that_needs_all_asks_all():
    assert rounds_with(KILLER, asked(roster(min_clients=CLIENTS), 6)) == list(range(1, 7))


@pytest.mark.parametrize("seed", [None, 3])
def test_differential_privacy_asks_by_chance_alone(seed):
    privacy = Privacy(clip=1.0, noise=1.0, noise_seed=seed)
    made = roster(privacy=privacy, average="equal", select="uniform")
    assert rounds_with(KILLER, asked(made, 8)) == list(range(1, 9))
