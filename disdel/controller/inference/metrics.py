"""What a model's outputs say of it: pure functions of arrays."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from disdel.types import ClassScore, Evaluation, NumberEvaluation
from disdel.types.arrays import Array
from disdel.types.report_json import CONFUSION_NAME, MOST_CLASSES

Counts = npt.NDArray[np.int64]

# Of a class that a model gives no chance: the logarithm of zero would be the loss of all samples.
_LEAST_PROBABILITY = 1e-7


def confusion_matrix(true: Array, predicted: Array, classes: int) -> Counts:
    """How often samples of each class were taken for each.

    Args:
        true: (samples,) integers below `classes`.
        predicted: (samples,) likewise.
        classes: how many there are.

    Returns:
        (classes, classes) int64, by true class and predicted class.
    """
    cells = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion: Counts, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """One score a class, in the order of the matrix.

    Args:
        confusion: as `confusion_matrix` gives it.
        names: one a class.
    """
    hits = confusion.diagonal()
    samples, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScore(
            name=name,
            samples=int(samples[index]),
            predicted=int(predicted[index]),
            precision=_share(hits[index], predicted[index]),
            recall=_share(hits[index], samples[index]),
            f1=_share(2 * hits[index], samples[index] + predicted[index]),
        )
        for index, name in enumerate(names)
    )


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def top_classes(probabilities: Array, k: int) -> npt.NDArray[np.int64]:
    """The `k` likeliest classes of each sample, (samples, k) int64, the likeliest first.

    Of equally likely classes the one with the lower number comes first.
    """
    if k == 1:
        return np.asarray(probabilities.argmax(axis=1))[:, np.newaxis]
    order = np.argsort(-probabilities.astype(np.float64), axis=1, kind="stable")
    return order[:, :k]


def mean_loss(probabilities: Array, true: Array) -> float:
    """Cross-entropy in nats, the mean over samples.

    Args:
        probabilities: (samples, classes), each row a distribution.
        true: (samples,) integers below the number of classes.
    """
    chosen = probabilities[np.arange(len(true)), true].astype(np.float64)
    return float(-np.log(np.maximum(chosen, _LEAST_PROBABILITY)).mean())


def evaluate_classes(
    probabilities: Array, true: Array, names: Sequence[str], top_k: int
) -> Evaluation:
    """Confusion, scores by class and top-k accuracy.

    Args:
        probabilities: (samples, classes), at least one sample.
        true: (samples,) integers below the number of classes.
        names: one a class.
        top_k: at most as many as there are classes.
    """
    best = top_classes(probabilities, top_k)
    confusion = confusion_matrix(true, best[:, 0], len(names))
    return Evaluation(
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=class_scores(confusion, names),
        top_k=top_k,
        top_k_accuracy=float((best == true[:, np.newaxis]).any(axis=1).mean()),
    )


def evaluate_numbers(numbers: Array, true: Array) -> NumberEvaluation:
    """The mean errors of predicted numbers, of all of them.

    Args:
        numbers: (samples, *target), at least one.
        true: (samples, *target).
    """
    errors = numbers.astype(np.float64) - true.astype(np.float64)
    return NumberEvaluation(
        samples=len(errors),
        mean_squared_error=float(np.square(errors).mean()),
        mean_absolute_error=float(np.abs(errors).mean()),
    )


def write_confusion(folder: Path, evaluation: Evaluation) -> None:
    """Write the matrix that is too large for a report, a line for each pair that has samples."""
    if len(evaluation.classes) <= MOST_CLASSES:
        return
    with (folder / CONFUSION_NAME).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("true", "predicted", "samples"))
        for true, row in enumerate(evaluation.confusion or ()):
            rows.writerows((true, predicted, n) for predicted, n in enumerate(row) if n)
