"""Scores from class probabilities, by property and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.inference.metrics import (
    class_scores,
    confusion_matrix,
    evaluate_classes,
    evaluate_numbers,
    mean_loss,
    top_classes,
)


@st.composite
def evaluated(draw):
    """Probabilities of a few samples, their classes, and how many classes there are."""
    classes, samples = draw(st.integers(1, 8)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few distinct values, so that some classes are equally likely.
    weights = random.integers(1, 4, (samples, classes)).astype(np.float32)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return probabilities, random.integers(0, classes, samples), classes


def names(classes):
    return [f"c{index}" for index in range(classes)]


@given(case=evaluated())
def test_rows_count_the_true_classes_and_columns_the_predicted(case):
    probabilities, true, classes = case
    predicted = top_classes(probabilities, 1)[:, 0]
    confusion = confusion_matrix(true, predicted, classes)
    assert confusion.sum(axis=1).tolist() == np.bincount(true, minlength=classes).tolist()
    assert confusion.sum(axis=0).tolist() == np.bincount(predicted, minlength=classes).tolist()
    assert confusion.trace() == (true == predicted).sum()


@given(case=evaluated())
def test_scores_of_classes_agree_with_their_definitions(case):
    probabilities, true, classes = case
    predicted = probabilities.argmax(axis=1)
    scores = class_scores(confusion_matrix(true, predicted, classes), names(classes))
    for index, score in enumerate(scores):
        hits = ((true == index) & (predicted == index)).sum()
        assert score.name == f"c{index}"
        assert score.samples == (true == index).sum()
        assert score.predicted == (predicted == index).sum()
        assert score.recall == (hits / score.samples if score.samples else None)
        assert score.precision == (hits / score.predicted if score.predicted else None)
        if score.precision and score.recall:
            harmonic = 2 / (1 / score.precision + 1 / score.recall)
            assert score.f1 == pytest.approx(harmonic)
        else:
            assert not score.f1


@given(case=evaluated())
def test_more_guesses_are_never_worse_and_all_of_them_are_right(case):
    probabilities, true, classes = case
    accuracies = [
        evaluate_classes(probabilities, true, names(classes), k).top_k_accuracy
        for k in range(1, classes + 1)
    ]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] == pytest.approx((probabilities.argmax(axis=1) == true).mean())
    assert accuracies[-1] == 1


@given(case=evaluated())
def test_guesses_are_distinct_and_fall_in_probability(case):
    probabilities, _, classes = case
    best = top_classes(probabilities, classes)
    for row, places in zip(probabilities, best, strict=True):
        assert sorted(places) == list(range(classes))
        assert (np.diff(row[places]) <= 0).all()
    assert (best[:, 0] == probabilities.argmax(axis=1)).all()


def test_loss_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.0, 1.0]], np.float32)
    assert mean_loss(probabilities, np.array([0, 1])) == pytest.approx(np.log(2) / 2)
    # A class without any chance costs a lot, and not everything.
    assert mean_loss(probabilities, np.array([0, 0])) == pytest.approx(
        (np.log(2) + np.log(1e7)) / 2
    )


def test_confusion_by_hand():
    true, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    confusion = confusion_matrix(true, predicted, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    zero, one, two = class_scores(confusion, ("zero", "one", "two"))
    assert (zero.precision, zero.recall, zero.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert (one.precision, one.recall, one.f1) == (pytest.approx(1 / 3), 1, 0.5)
    assert (two.precision, two.recall, two.f1) == (None, 0, 0)


def test_errors_of_numbers_are_means_over_samples():
    found = evaluate_numbers(np.array([1, 2, 6], np.float32), np.array([1, 4, 3], np.float32))
    assert found.samples == 3
    assert found.mean_squared_error == pytest.approx((0 + 4 + 9) / 3)
    assert found.mean_absolute_error == pytest.approx((0 + 2 + 3) / 3)
