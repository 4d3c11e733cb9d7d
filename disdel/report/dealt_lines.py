"""A partition on a terminal: a line a client with its samples, and a heat map of blocks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.host.streams import on_one_line
from disdel.types.dealt import DealtSamples, starts_of

# More clients, or labels, are put together, so that the map fits a terminal.
MOST_ROWS = 40
MOST_COLUMNS = 60
_WIDE_COLUMNS = 30
_NAMED_LABELS = 20
_NAME_LENGTH = 16
_SHADES = " ░▒▓█"
_PLAIN_SHADES = " .:+#"


@dataclass(frozen=True, slots=True)
class Row:
    """One or more clients that stand in one row; `shares` are means, (columns,)."""

    label: str
    samples: str
    labels: str
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Map:
    """The rows and columns that are shown; `columns` are the labels that each begins with."""

    rows: tuple[Row, ...]
    columns: tuple[int, ...]
    largest: float


def map_of(
    dealt: DealtSamples, most_rows: int = MOST_ROWS, most_columns: int = MOST_COLUMNS
) -> Map:
    """A map of at most so many rows and columns: neighbours are put together where need be."""
    rows = [
        Row(
            label=_client(dealt, row.first) if row.first == row.last else f"{row.first}-{row.last}",
            samples=_range(dealt.samples[row.first : row.last + 1]),
            labels=_range(dealt.labels_held[row.first : row.last + 1]),
            shares=np.array(row.shares),
        )
        for row in dealt.label_map(most_rows, most_columns).rows
    ]
    largest = max(float(row.shares.max()) for row in rows)
    return Map(tuple(rows), tuple(starts_of(len(dealt.labels), most_columns)), largest)


def dealt_lines(dealt: DealtSamples) -> Iterator[str]:
    """The table, the map and the totals."""
    shown = map_of(dealt)
    shades = _SHADES if _can_write(_SHADES) else _PLAIN_SHADES
    width = 2 if len(shown.columns) <= _WIDE_COLUMNS else 1
    table: list[tuple[str, ...]] = [("client", "samples", "labels")]
    table += [(row.label, row.samples, row.labels) for row in shown.rows]
    if not dealt.labels:
        table = [cells[:2] for cells in table]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    yield f"partition {dealt.partition} of {on_one_line(dealt.dataset)}, seed {dealt.seed}"
    for place, cells in enumerate(table):
        text = "  ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
        if not dealt.labels:
            yield text
            continue
        if not place:
            yield f"{text}  {_heading(shown, width)}".rstrip()
            continue
        levels = np.ceil(shown.rows[place - 1].shares / shown.largest * (len(shades) - 1))
        blocks = "".join(shades[int(level)] * width for level in levels)
        yield f"{text}  |{blocks}|"
    if dealt.labels:
        each = "" if len(shown.columns) == len(dealt.labels) else ", several labels a column"
        yield (
            f"{' ' * (sum(sizes) + 6)} share of a client's samples: {shades[1]} little to "
            f"{shades[-1]} {shown.largest:.0%}{each}"
        )
    if len(shown.rows) < len(dealt.counts):
        yield f"{len(dealt.counts)} clients, several a row: --json has each"
    yield from _legend(dealt)
    yield from _totals(dealt)


def _heading(shown: Map, width: int) -> str:
    """The last digits of the labels' numbers, over their columns."""
    if width == 1:
        return f" labels {shown.columns[0]} to …"
    return " " + "".join(f"{start % 10:<2}" for start in shown.columns)


def _legend(dealt: DealtSamples) -> Iterator[str]:
    plain = dealt.labels == tuple(map(str, range(len(dealt.labels))))
    if plain or len(dealt.labels) > _NAMED_LABELS:
        return
    names = ", ".join(f"{place} {_short(name)}" for place, name in enumerate(dealt.labels))
    yield f"{'numbers to predict, by tenths' if dealt.is_numbers else 'labels'}  {names}"


def _totals(dealt: DealtSamples) -> Iterator[str]:
    samples, held, effective = dealt.samples, dealt.labels_held, dealt.effective_labels
    yield (
        f"samples   {samples.sum()} to {len(samples)} clients: least {samples.min()} (client "
        f"{_client(dealt, int(samples.argmin()))}), median {np.median(samples):g}, largest "
        f"{samples.max()} (client {_client(dealt, int(samples.argmax()))})"
    )
    if not dealt.labels:
        yield "labels    none: a sample has a target with axes of its own"
        return
    yield (
        f"labels    {held.min()} to {held.max()} a client, {held.mean():.2f} on average; of "
        f"{len(dealt.labels)}"
    )
    yield (
        f"effective {effective.mean():.2f} classes a client on average ({effective.min():.2f} to "
        f"{effective.max():.2f}); {dealt.effective_of_all:.2f} of all samples together"
    )


def _client(dealt: DealtSamples, client: int) -> str:
    return _short(dealt.clients[client]) if dealt.clients else str(client)


def _short(name: str) -> str:
    name = on_one_line(name)
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def _range(values: NDArray[np.int64]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}-{high}"


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
