"""What the page of a federation has beside that of a training: its clients and their rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from disdel.report.heat import HeatMap, heat_map
from disdel.types import RunReport
from disdel.types.client_scores import ClientScore
from disdel.types.dealt import starts_of
from disdel.types.units import format_bytes

MOST_ROWS = 100
MOST_COLUMNS = 200
_WORST_SHOWN = 10
_NAME_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Federated:
    """The parts of the page; those that the report does not tell are None or empty."""

    took_part: HeatMap | None
    binned: bool
    labels: HeatMap | None
    worst: tuple[ClientScore, ...]
    bytes_each: str
    slowest: tuple[str, ...]


def federated(report: RunReport) -> Federated | None:
    """The parts of a federation's page; None of other runs."""
    if report.job != "federate":
        return None
    grid = participation(report)
    scores = report.client_scores
    by_client = {} if scores is None else {one.client: one for one in scores.by_client}
    asked = [entry.clients for entry in report.rounds if entry.clients is not None]
    moved = [(clients.bytes, clients.answered + clients.late) for clients in asked]
    answered = sum(count for _, count in moved)
    total = sum(size or 0 for size, _ in moved)
    return Federated(
        took_part=None
        if grid is None
        else heat_map(grid.shares, grid.clients, grid.rounds, grid.dropped),
        binned=grid is not None and grid.binned,
        labels=_labels(report),
        worst=tuple(
            by_client[client]
            for client in (() if scores is None else scores.worst[:_WORST_SHOWN])
            if client in by_client
        ),
        bytes_each=format_bytes(total // answered) if total and answered else "",
        slowest=_slowest(report),
    )


@dataclass(frozen=True, slots=True)
class Participation:
    """Who took part: `shares` (rows, columns) of a cell's clients and rounds, that answered.

    `dropped` marks cells of which some were asked and are not in an average.
    """

    shares: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    dropped: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
    clients: tuple[str, ...]
    rounds: tuple[str, ...]
    binned: bool


def participation(report: RunReport) -> Participation | None:
    """Clients by rounds, neighbours together beyond `MOST_ROWS` or `MOST_COLUMNS`."""
    numbers = [entry.round for entry in report.rounds]
    answered = [(e.client, e.round) for e in report.ledger if e.client is not None]
    late = [
        (one.client, entry.round)
        for entry in report.rounds
        for one in (() if entry.clients is None else entry.clients.dropped)
    ]
    if not numbers or not answered + late:
        return None
    told = report.settings.get("clients")
    seen = max(client for client, _ in answered + late) + 1
    clients = max(seen, told) if isinstance(told, int) else seen
    rounds = max(numbers)
    rows, columns = starts_of(clients, MOST_ROWS), starts_of(rounds, MOST_COLUMNS)

    def counted(pairs: list[tuple[int, int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        counts = np.zeros((len(rows), len(columns)))
        if pairs:
            who, when = np.array(pairs).T
            places = (
                np.searchsorted(rows, who, side="right") - 1,
                np.searchsorted(columns, when - 1, side="right") - 1,
            )
            np.add.at(counts, places, 1)
        return counts

    sizes = np.outer(np.diff([*rows, clients]), np.diff([*columns, rounds]))
    return Participation(
        shares=counted(answered) / sizes,
        dropped=counted(late) > 0,
        clients=tuple(map(str, rows)),
        rounds=tuple(str(column + 1) for column in columns),
        binned=len(rows) < clients or len(columns) < rounds,
    )


def _labels(report: RunReport) -> HeatMap | None:
    found = report.label_map
    if found is None or not found.rows:
        return None
    return heat_map(
        np.array([row.shares for row in found.rows]),
        [str(row.first) for row in found.rows],
        [name[:_NAME_LENGTH] for name in found.labels],
    )


def _slowest(report: RunReport) -> tuple[str, ...]:
    """The clients whose steps took longest in a round, on average."""
    seconds: dict[int, list[float]] = {}
    for entry in report.ledger:
        if entry.client is not None and entry.train_s is not None:
            seconds.setdefault(entry.client, []).append(entry.train_s)
    means = {client: sum(times) / len(times) for client, times in seconds.items()}
    ranked = sorted(means, key=lambda client: (-means[client], client))[:_WORST_SHOWN]
    return tuple(f"{client} ({means[client]:.3g} s)" for client in ranked)
