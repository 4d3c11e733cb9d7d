"""The CSV of a federation: a row a client a round, also of a run that was resumed."""

import asyncio
import csv
from types import SimpleNamespace

from disdel.controller.federating.clients_file import ClientsFile
from disdel.controller.federating.rounds import _ledger
from disdel.controller.runs.progress import CompleteRound, Progress
from disdel.controller.training.observers import DoneRound
from disdel.types import ClientsReport, DroppedClient, LedgerEntry, RoundReport, TrainJob


def a_round(number):
    """A round of client 7, who has answered, and client 9, who has not."""
    entry = LedgerEntry(
        round=number,
        client=7,
        worker=1,
        attempt=0,
        samples=30,
        steps=3,
        weight=30.0,
        loss=0.5,
        checksum="0123abcd",
    )
    dropped = DroppedClient(client=9, why='late: no answer, or "none"\nin time')
    clients = ClientsReport(asked=2, answered=1, dropped=(dropped,))
    report = RoundReport(round=number, wall_s=1.0, train_loss=0.5, clients=clients)
    return CompleteRound(report=report, ledger=(entry,), activations=())


def done(complete):
    return DoneRound(
        report=complete.report,
        reports=(complete.report,),
        ledger=complete.ledger,
        activations=(),
        before=(),
    )


def progress(*rounds):
    return Progress(
        job=TrainJob(dataset="digits"),
        dataset=("1", 1, 1, 1),
        dataset_digest="",
        planned_rounds=3,
        rounds=rounds,
    )


def read(folder):
    with (folder / "clients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_client_that_was_asked_has_a_row(tmp_path):
    file = ClientsFile(tmp_path, print)
    asyncio.run(file.run_started(progress()))
    for number in (1, 2):
        asyncio.run(file.round_done(done(a_round(number))))
    rows = read(tmp_path)
    assert [(row["round"], row["client"]) for row in rows] == [
        *(("1", "7"), ("1", "9")),
        *(("2", "7"), ("2", "9")),
    ]
    assert rows[0]["samples"] == "30"
    assert rows[0]["weight"] == "30.0"
    assert rows[0]["dropped"] == rows[0]["train_s"] == ""
    assert rows[1]["dropped"] == 'late: no answer, or "none"\nin time'
    # A later controller begins with what is complete.
    asyncio.run(ClientsFile(tmp_path, print).run_started(progress(a_round(1))))
    assert read(tmp_path) == rows[:2]


def test_a_file_that_cannot_be_written_is_told_and_ends_nothing(tmp_path):
    told = []
    file = ClientsFile(tmp_path / "gone", told.append)
    asyncio.run(file.run_started(progress()))
    assert "clients.csv is not written: No such file" in told[0].message


def test_the_ledger_has_what_each_update_counted():
    result = SimpleNamespace(samples=5, checksum="", steps=1, loss_sum=1.0, train_s=0.1, score=None)
    one = SimpleNamespace(worker=0, attempt=0, weight=5.0, bytes=None, result=result)
    cohort = SimpleNamespace(number=1, secure=None, answered={0: one, 1: one, 2: one})
    made = _ledger(cohort, {0: "a", 1: "b", 2: "c"}, {0: 0.0, 1: 5.0}, 1)
    # Of a sum nobody has looked at each.
    assert [(entry.checksum, entry.weight) for entry in made] == [("a", 0), ("b", 5), ("c", 5)]
