"""Which clients are there in a round: `--available PROBABILITY|FILE.csv`."""

from __future__ import annotations

import csv
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError

OPTION = "--available"
# Keeps this apart from what else is drawn from the seed in a round.
_BEING_THERE = 11
_COLUMNS = ("client", "first_round", "last_round")
_FORMS = (
    f"{OPTION} is a probability above 0 and at most 1, or a CSV file with the columns "
    f"{', '.join(_COLUMNS)}: the rounds, from 1, in which each client is there"
)
# Of an open end.
_EVER = 2**31 - 1


class Availability(ABC):
    """Says who is there."""

    @abstractmethod
    def present(self, number: int) -> NDArray[np.bool_]:
        """Who is there in round `number`, (clients,): the same ones each time."""

    @property
    @abstractmethod
    def looked_at(self) -> int:
        """How many numbers are looked at to know who is there in a round."""

    @abstractmethod
    def changes(self, rounds: range) -> Iterable[int]:
        """Those of some rounds in which others may be there than before, ascending; the first is.

        Args:
            rounds: neighbours, at least one.
        """


@dataclass(frozen=True, slots=True)
class ByChance(Availability):
    """Each client is there in each round with one probability, whoever else is."""

    probability: float
    clients: int
    seed: int

    def present(self, number: int) -> NDArray[np.bool_]:
        random = np.random.default_rng((self.seed, number, _BEING_THERE))
        return random.random(self.clients, np.float32) < self.probability

    @property
    def looked_at(self) -> int:
        return self.clients

    def changes(self, rounds: range) -> Iterable[int]:
        return rounds if self.probability < 1 else rounds[:1]


@dataclass(frozen=True, slots=True, eq=False)
class ByTrace(Availability):
    """Clients are there in spans of rounds, (spans,) each; who has none is never there."""

    clients: int
    owners: NDArray[np.int32]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    def present(self, number: int) -> NDArray[np.bool_]:
        there = np.zeros(self.clients, np.bool_)
        there[self.owners[(self.first <= number) & (number <= self.last)]] = True
        return there

    @property
    def looked_at(self) -> int:
        return self.clients + len(self.owners)

    def changes(self, rounds: range) -> Iterable[int]:
        # In int64, as the end of an open span has none behind it in int32.
        turns = np.concatenate([self.first, self.last.astype(np.int64) + 1])
        inside = turns[(rounds[0] < turns) & (turns <= rounds[-1])]
        return [rounds[0], *np.unique(inside).tolist()]


def read_availability(text: str, *, clients: int, seed: int) -> Availability:
    """What a user says of the clients' availability.

    Raises:
        UsageError: it is no probability, or no file of such spans; the message says the line.
    """
    try:
        probability = float(text)
    except ValueError:
        return _read_trace(Path(text), clients)
    if not 0 < probability <= 1:
        raise UsageError(f"{_FORMS}; not {text}")
    return ByChance(probability, clients, seed)


def trace_digest(text: str) -> dict[str, str]:
    """Of the file of spans that `--available` names, by its name; empty for a probability."""
    try:
        float(text)
    except ValueError:
        return {text: hashlib.blake2b(Path(text).read_bytes(), digest_size=16).hexdigest()}
    return {}


def _read_trace(path: Path, clients: int) -> ByTrace:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if sorted(header) != sorted(_COLUMNS):
                found = ", ".join(header) or "nothing"
                raise UsageError(f"{_FORMS}; the first line of {path} has {found}")
            places = [header.index(name) for name in _COLUMNS]
            # As numbers at once: of a million clients, tuples take a hundred bytes each.
            spans = np.fromiter(
                (
                    _span(row, places, f"{path}, line {rows.line_num}", clients)
                    for row in rows
                    if row
                ),
                dtype=(np.int32, len(_COLUMNS)),
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{_FORMS}; {path} cannot be read: {error}") from error
    if not len(spans):
        raise UsageError(f"{path}: nobody is ever there, as it has no lines below the first")
    return ByTrace(clients, *spans.T)


def _span(row: list[str], places: list[int], where: str, clients: int) -> tuple[int, int, int]:
    """A line: a client, and the first and last round of a span; an empty last one is open."""
    if len(row) != len(_COLUMNS):
        raise UsageError(f"{where}: {len(row)} columns, where {len(_COLUMNS)} are needed")
    client, first, last = (_whole(row[place], where) for place in places)
    if client is None or not 0 <= client < clients:
        raise UsageError(f"{where}: client {row[places[0]]!r} is none of 0 to {clients - 1}")
    if first is None or first < 1:
        raise UsageError(f"{where}: rounds are counted from 1, and the first is {row[places[1]]!r}")
    if last is not None and last < first:
        raise UsageError(f"{where}: the last round, {last}, is before the first, {first}")
    return client, first, _EVER if last is None else last


def _whole(text: str, where: str) -> int | None:
    """A whole number below 2**31; None where there is nothing."""
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number == int(number)):
        raise UsageError(f"{where}: {text.strip()!r} is no whole number")
    if abs(number) >= _EVER:
        raise UsageError(
            f"{where}: {text.strip()} is beyond {_EVER - 1}; an open end is left empty"
        )
    return int(number)
