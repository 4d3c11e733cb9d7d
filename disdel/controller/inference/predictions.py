"""What a model says of each sample, and the file that a user asked for it in."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from disdel.controller.inference.metrics import top_classes
from disdel.errors import UsageError
from disdel.host.targets import check_target
from disdel.types.arrays import Array

VERSION = 1
_SUFFIXES = (".csv", ".json", ".npz")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-](inf|nan)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A class that a sample may be of."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One label: its sample's file or position, the likeliest classes, and the class where known.

    `place` is the label's among those of its sample, () where a sample has one.
    """

    input: str
    guesses: tuple[Guess, ...]
    true: str | None
    place: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The classes that a run predicted: one for each sample, or of the axes of its target.

    Attributes:
        inputs: a sample's file, or its position among the samples, as text.
        probabilities: (samples, *target_shape, classes) float32.
        labels: (samples, *target_shape) integers, None where the classes are not known.
        class_names: one a class.
        top_k: guesses of a prediction.
    """

    inputs: tuple[str, ...]
    probabilities: Array
    labels: Array | None
    class_names: tuple[str, ...]
    top_k: int = 1

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of the labels of a sample."""
        return self.probabilities.shape[1:-1]

    def __len__(self) -> int:
        """How many labels were predicted, one a sample or more."""
        return math.prod(self.probabilities.shape[:-1])

    def __iter__(self) -> Iterator[Prediction]:
        rows = self.probabilities.reshape(len(self), -1)
        true = None if self.labels is None else self.labels.reshape(-1)
        best = top_classes(rows, self.top_k)
        places = product(self.inputs, np.ndindex(self._shape))
        for index, (sample, place) in enumerate(places):
            yield Prediction(
                input=sample,
                guesses=tuple(
                    Guess(name=self.class_names[guess], probability=float(rows[index, guess]))
                    for guess in best[index].tolist()
                ),
                true=None if true is None else self.class_names[int(true[index])],
                place=place,
            )

    def table(self) -> Iterator[list[str]]:
        """A heading and a row a label: class and probability, the true class, other guesses.

        Of several labels a sample, each row has the label's place in it.
        """
        known = self.labels is not None
        others = range(2, self.top_k + 1)
        more = [name for place in others for name in (f"class_{place}", f"probability_{place}")]
        placed = ["place"] if self._shape else []
        yield ["input", *placed, "class", "probability", *(["true"] if known else []), *more]
        for entry in self:
            cells = [[guess.name, f"{guess.probability:.6g}"] for guess in entry.guesses]
            true = [] if entry.true is None else [entry.true]
            place = [_told(entry.place)] if self._shape else []
            yield [
                entry.input,
                *place,
                *cells[0],
                *true,
                *(cell for pair in cells[1:] for cell in pair),
            ]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            "version": VERSION,
            "classes": list(self.class_names),
            "predictions": [_entry(entry) for entry in self],
        }

    def arrays(self) -> dict[str, Array]:
        """The same as arrays; `class` and `true` are numbers among `classes`."""
        known = {} if self.labels is None else {"true": self.labels.astype(np.int32)}
        return {
            "input": np.array(self.inputs),
            "classes": np.array(self.class_names),
            "class": self.probabilities.argmax(axis=-1).astype(np.int32),
            "probabilities": self.probabilities,
            **known,
        }


def _told(place: tuple[int, ...]) -> str:
    """A place among the labels of a sample, for people."""
    return " ".join(map(str, place))


def _entry(entry: Prediction) -> dict[str, Any]:
    guesses = [{"class": g.name, "probability": round(g.probability, 6)} for g in entry.guesses]
    known = {} if entry.true is None else {"true": entry.true}
    place = {"place": list(entry.place)} if entry.place else {}
    return {"input": entry.input, **place, **guesses[0], **known, "top": guesses}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPredictions:
    """The numbers that a run predicted: one for each sample, or of the axes of its target.

    Attributes:
        inputs: a sample's file, or its position among the samples, as text.
        numbers: (samples, *target_shape) float32.
        true: (samples, *target_shape) float32, None where these are not known.
    """

    inputs: tuple[str, ...]
    numbers: Array
    true: Array | None

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of the numbers of a sample."""
        return self.numbers.shape[1:]

    def __len__(self) -> int:
        """How many numbers were predicted, one a sample or more."""
        return self.numbers.size

    def _rows(self) -> Iterator[tuple[str, tuple[int, ...], list[float]]]:
        """Of each number its sample, its place there, the number, and the true one if known."""
        columns = [self.numbers] if self.true is None else [self.numbers, self.true]
        values = zip(*(column.reshape(-1) for column in columns), strict=True)
        places = product(self.inputs, np.ndindex(self._shape))
        for (sample, place), numbers in zip(places, values, strict=True):
            yield sample, place, [float(number) for number in numbers]

    def table(self) -> Iterator[list[str]]:
        """A heading and a row a number: the number, and the true one.

        Of several numbers a sample, each row has the number's place in it.
        """
        placed = ["place"] if self._shape else []
        yield ["input", *placed, "number", *([] if self.true is None else ["true"])]
        for sample, place, numbers in self._rows():
            told = [_told(place)] if self._shape else []
            yield [sample, *told, *(f"{number:.6g}" for number in numbers)]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        entries: list[dict[str, Any]] = []
        for sample, place, numbers in self._rows():
            told = {"place": list(place)} if place else {}
            named = zip(("number", "true"), numbers, strict=False)
            entries.append({"input": sample, **told, **dict(named)})
        return {"version": VERSION, "predictions": entries}

    def arrays(self) -> dict[str, Array]:
        """The same as arrays."""
        known = {} if self.true is None else {"true": self.true}
        return {"input": np.array(self.inputs), "number": self.numbers, **known}


def check_predictions_target(path: Path | None) -> None:
    """Refuse, before any work, a file that cannot be written.

    Raises:
        UsageError: its suffix is unknown, or it cannot be written.
    """
    if path is None:
        return
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--predictions {path} must end in {' or '.join(_SUFFIXES)}")
    check_target("--predictions", path)


def write_predictions(path: Path, predictions: Predictions | NumberPredictions) -> None:
    """Write a CSV or JSON file or numpy's archive of arrays, by the suffix.

    In CSV, names that a spreadsheet would take for formulas begin with an apostrophe.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if path.suffix.lower() == ".npz":
            with path.open("wb") as archive:
                np.savez(archive, allow_pickle=False, **predictions.arrays())
            return
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                csv.writer(file).writerows(map(_no_formulas, predictions.table()))
            else:
                json.dump(predictions.to_json(), file, indent=1)
    except OSError as error:
        raise UsageError(f"--predictions {path} cannot be written: {error}") from error


def _no_formulas(row: list[str]) -> list[str]:
    return [f"'{cell}" if _is_formula(cell) else cell for cell in row]


def _is_formula(cell: str) -> bool:
    return cell.startswith(_FORMULA) and _NUMBER.fullmatch(cell) is None
