"""What an evaluation says of a model: by class, or of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over samples: loss, accuracy (a fraction) and what else was asked for.

    `accuracy` is None where there are no classes.
    """

    loss: float
    accuracy: float | None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How well one class is recognised.

    Attributes:
        name: of the class.
        samples: that are of the class.
        predicted: samples that were taken for it.
        precision: the share of those that are of the class; None where there are none.
        recall: the share of its samples that were taken for it; None where it has none.
        f1: the harmonic mean of the two; None where the class neither is nor was predicted.
    """

    name: str
    samples: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model makes of labelled samples, beyond loss and accuracy.

    Attributes:
        top_k: how many classes a sample has guesses for.
        top_k_accuracy: the share of samples whose class is among its `top_k` likeliest.
        classes: one score a class, in their order.
        confusion: `confusion[true][predicted]` counts samples; None where a saved report leaves
            it to `confusion_file` in the run's folder.
    """

    top_k: int
    top_k_accuracy: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    confusion_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberEvaluation:
    """How far a model's numbers are from the true ones: means over `samples` samples."""

    samples: int
    mean_squared_error: float
    mean_absolute_error: float
