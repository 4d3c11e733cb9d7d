"""`clients.csv` in the folder of a federated run: a row for each client that a round has asked."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from disdel.controller.runs.progress import Progress
from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.types import LedgerEntry, RoundReport
from disdel.types.events import Listener, Noted

NAME = "clients.csv"
_COLUMNS = (
    *("round", "client", "worker", "attempt", "staleness", "samples", "steps"),
    *("weight", "loss", "train_s", "bytes", "own_loss", "own_accuracy", "checksum"),
)


class ClientsFile(RoundObserver):
    """Keeps the file; where it cannot be written, that is told and ends nothing.

    Args:
        folder: of the run.
        emit: told of what cannot be written.
    """

    def __init__(self, folder: Path, emit: Listener) -> None:
        self._path = folder / NAME
        self._emit = emit

    async def run_started(self, progress: Progress) -> None:
        """Begin anew with the rounds that earlier controllers have completed."""
        rows: list[list[object]] = [[*_COLUMNS, "dropped"]]
        for complete in progress.rounds:
            rows += _rows(complete.report, complete.ledger)
        await asyncio.to_thread(self._write, rows, "w")

    async def round_done(self, done: DoneRound) -> None:
        await asyncio.to_thread(self._write, _rows(done.report, done.ledger), "a")

    def _write(self, rows: Iterable[Sequence[object]], mode: str) -> None:
        try:
            with self._path.open(mode, encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            self._emit(Noted(message=f"{self._path} is not written: {error.strerror or error}"))


def _rows(report: RoundReport, ledger: Sequence[LedgerEntry]) -> Iterator[list[object]]:
    """Those who are in the average, and behind them who was dropped, with the reason."""
    for entry in ledger:
        yield [*(_cell(getattr(entry, name)) for name in _COLUMNS), ""]
    for one in () if report.clients is None else report.clients.dropped:
        yield [report.round, one.client, *[""] * (len(_COLUMNS) - 2), one.why]


def _cell(value: object) -> object:
    return "" if value is None else value
