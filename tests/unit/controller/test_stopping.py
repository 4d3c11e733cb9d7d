from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.training.stopping import (
    best_round,
    is_scored,
    model_round,
    reason_to_stop,
    rounds_to,
)
from disdel.errors import UsageError
from disdel.types import RoundReport, Validation
from tests.support.planning import plan


def rounds_of(losses):
    """Rounds with these losses; None was not scored."""
    return [
        RoundReport(
            round=number,
            wall_s=1.0,
            train_loss=1.0,
            loss=loss,
            accuracy=None if loss is None else 1 - loss / 10,
        )
        for number, loss in enumerate(losses, 1)
    ]


losses = st.lists(st.none() | st.floats(0, 9), max_size=12)


@given(losses=losses)
def test_the_best_round_is_the_first_of_the_least_loss(losses):
    scored = [loss for loss in losses if loss is not None]
    best = best_round(rounds_of(losses))
    assert best == (losses.index(min(scored)) + 1 if scored else None)


def test_rounds_to_a_target_are_up_to_the_first_that_reaches_it():
    rounds = rounds_of([5.0, None, 2.0, 3.0, 2.0])
    assert rounds_to(0.8, rounds) == 3
    assert rounds_to(0.5, rounds) == 1
    assert rounds_to(0.9, rounds) is None
    assert rounds_to(None, rounds) is None
    assert rounds_to(0.8, []) is None


@given(losses=losses, patience=st.integers(1, 5))
def test_patience_counts_rounds_since_the_best(losses, patience):
    rounds = rounds_of(losses)
    reason = reason_to_stop(Validation(patience=patience), rounds)
    scored = [number for number, loss in enumerate(losses, 1) if loss is not None]
    assert (reason is not None) == bool(scored and scored[-1] - best_round(rounds) >= patience)
    assert reason_to_stop(Validation(), rounds) is None


@given(losses=losses, target=st.floats(0.05, 1))
def test_the_last_score_is_held_against_the_target(losses, target):
    scored = [loss for loss in losses if loss is not None]
    reason = reason_to_stop(Validation(target_accuracy=target), rounds_of(losses))
    assert (reason is not None) == bool(scored and 1 - scored[-1] / 10 >= target)


@given(every=st.integers(1, 7), rounds=st.integers(1, 30))
def test_the_last_round_is_scored_whatever_the_interval(every, rounds):
    made = replace(plan(), rounds=rounds, score_every=every)
    scored = [n for n in range(1, rounds + 1) if is_scored(n, made)]
    assert scored[-1] == rounds
    assert [n for n in scored if n % every] in ([], [rounds])


def test_the_model_is_of_the_last_round_or_with_patience_of_the_best():
    rounds = rounds_of([3.0, 1.0, 2.0])
    assert model_round(Validation(), rounds) == 3
    assert model_round(Validation(patience=9), rounds) == 2
    assert model_round(Validation(), []) is None


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("every", 0, "--validate-every must be from 1"),
        ("patience", 0, "--patience must be from 1"),
        ("target_accuracy", 98.0, "--target-accuracy must be above 0 and at most 1, not 98"),
    ],
)
def test_values_out_of_range(field, value, told):
    with pytest.raises(UsageError, match=told):
        Validation(**{field: value})
