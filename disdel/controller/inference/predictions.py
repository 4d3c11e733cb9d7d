"""What a model says of each sample, and the file that a user asked for it in."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disdel.controller.inference.metrics import top_classes
from disdel.errors import UsageError
from disdel.host.targets import check_target
from disdel.types.arrays import Array

VERSION = 1
_SUFFIXES = (".csv", ".json")
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
    """One sample: its file or its position, its likeliest classes, and its class where known."""

    input: str
    guesses: tuple[Guess, ...]
    true: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The classes that a run predicted.

    Attributes:
        inputs: a sample's file, or its position among the samples, as text.
        probabilities: (samples, classes) float32.
        labels: (samples,) integers, None where the classes are not known.
        class_names: one a class.
        top_k: guesses of a prediction.
    """

    inputs: tuple[str, ...]
    probabilities: Array
    labels: Array | None
    class_names: tuple[str, ...]
    top_k: int = 1

    def __len__(self) -> int:
        return len(self.probabilities)

    def __iter__(self) -> Iterator[Prediction]:
        best = top_classes(self.probabilities, self.top_k)
        for index, places in enumerate(best.tolist()):
            yield Prediction(
                input=self.inputs[index],
                guesses=tuple(
                    Guess(
                        name=self.class_names[place],
                        probability=float(self.probabilities[index, place]),
                    )
                    for place in places
                ),
                true=None if self.labels is None else self.class_names[int(self.labels[index])],
            )

    def table(self) -> Iterator[list[str]]:
        """A heading and a row a sample: class and probability, the true class, other guesses."""
        known = self.labels is not None
        others = range(2, self.top_k + 1)
        more = [name for place in others for name in (f"class_{place}", f"probability_{place}")]
        yield ["input", "class", "probability", *(["true"] if known else []), *more]
        for entry in self:
            cells = [[guess.name, f"{guess.probability:.6g}"] for guess in entry.guesses]
            true = [] if entry.true is None else [entry.true]
            yield [entry.input, *cells[0], *true, *(cell for pair in cells[1:] for cell in pair)]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            "version": VERSION,
            "classes": list(self.class_names),
            "predictions": [_entry(entry) for entry in self],
        }


def _entry(entry: Prediction) -> dict[str, Any]:
    guesses = [{"class": g.name, "probability": round(g.probability, 6)} for g in entry.guesses]
    known = {} if entry.true is None else {"true": entry.true}
    return {"input": entry.input, **guesses[0], **known, "top": guesses}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPredictions:
    """The numbers that a run predicted.

    Attributes:
        inputs: a sample's file, or its position among the samples, as text.
        numbers: (samples,) float32.
        true: (samples,) float32, None where these are not known.
    """

    inputs: tuple[str, ...]
    numbers: Array
    true: Array | None

    def __len__(self) -> int:
        return len(self.numbers)

    def table(self) -> Iterator[list[str]]:
        """A heading and a row a sample: the number, and the true one."""
        columns = [self.numbers] if self.true is None else [self.numbers, self.true]
        yield ["input", "number", "true"][: 1 + len(columns)]
        for name, *values in zip(self.inputs, *columns, strict=True):
            yield [name, *(f"{value:.6g}" for value in values)]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        entries: list[dict[str, Any]] = [
            {"input": name, "number": float(number)}
            for name, number in zip(self.inputs, self.numbers, strict=True)
        ]
        if self.true is not None:
            for entry, true in zip(entries, self.true, strict=True):
                entry["true"] = float(true)
        return {"version": VERSION, "predictions": entries}


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
    """Write a CSV or JSON file, by its suffix.

    In CSV, names that a spreadsheet would take for formulas begin with an apostrophe.

    Raises:
        UsageError: it cannot be written.
    """
    try:
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
