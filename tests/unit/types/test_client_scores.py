"""Scores by client, in numbers: means, the worst tenth, who is worst off."""

import pytest

from disdel.errors import UsageError
from disdel.types import FederateJob
from disdel.types.client_scores import ClientScore, scores_of, spread
from disdel.types.evaluating import Evaluating


def test_a_worst_tenth_is_of_whole_clients_rounded_up():
    eleven = [i / 10 for i in range(11)]
    found = spread(eleven, [1] * 11, worst="least")
    assert found.worst_tenth == pytest.approx(0.05)
    assert (found.mean, found.least, found.most) == (pytest.approx(0.5), 0.0, 1.0)
    assert spread(eleven, [1] * 11, worst="most").worst_tenth == pytest.approx(0.95)
    assert spread(eleven[:10], [1] * 10, worst="least").worst_tenth == 0.0
    assert spread([0.3], [7], worst="least").worst_tenth == 0.3


def test_a_mean_is_over_clients_and_another_one_over_samples():
    # Flower: losses (n, l) (1, 2), (2, 1), (1, 2) come to 1.5.
    found = spread([2.0, 1.0, 2.0], [1, 2, 1], worst="most")
    assert found.by_samples == 1.5
    assert found.mean == pytest.approx(5 / 3)


def score(client, accuracy, loss=1.0, personal=None):
    return ClientScore(
        client=client,
        samples=2,
        loss=loss,
        accuracy=accuracy,
        personal_loss=None if personal is None else 0.5,
        personal_accuracy=personal,
    )


def test_clients_that_are_worst_off_come_first_by_accuracy_then_loss():
    scores = [score(3, 0.5), score(1, 0.2, loss=2.0), score(2, 0.2, loss=3.0), score(0, 0.9)]
    found = scores_of(4, "train", scores, unscored=1)
    assert found.worst == (2, 1, 3, 0)
    assert [one.client for one in found.by_client] == [0, 1, 2, 3]
    assert (found.round, found.clients, found.unscored) == (4, 4, 1)


def test_numbers_to_predict_have_losses_alone():
    found = scores_of(1, "held-out", [score(0, None, 4.0), score(1, None, 2.0)], unscored=0)
    assert found.accuracy is None
    assert found.worst == (0, 1)
    assert found.loss.worst_tenth == 4.0


def test_personal_models_are_of_those_that_have_one():
    found = scores_of(1, "held-out", [score(0, 0.1, personal=0.9), score(1, 0.3)], unscored=0)
    assert found.personal_accuracy.mean == 0.9
    assert found.accuracy.mean == pytest.approx(0.2)


def test_without_a_score_there_is_nothing_to_tell():
    assert scores_of(1, "train", [], unscored=3) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"holdout": 1.0}, "below 1"),
        ({"holdout": 0.0}, "above 0"),
        ({"clients": -1}, "--evaluate-clients"),
    ],
)
def test_what_cannot_be_scored_is_refused(fields, told):
    with pytest.raises(UsageError, match=told):
        Evaluating(**fields)


@pytest.mark.parametrize(
    "fields", [{"holdout": 0.2}, {"clients": 0}, {"before_average": True}], ids=str
)
def test_where_only_sums_are_to_be_seen_no_client_is_scored(fields):
    from disdel.types.privacy import Privacy

    with pytest.raises(UsageError, match="--secure-aggregation hides"):
        FederateJob(
            dataset="digits",
            evaluating=Evaluating(**fields),
            privacy=Privacy(secure_aggregation=True),
        )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"evaluating": Evaluating(personalize=1.0)}, "--client-holdout"),
        ({"evaluating": Evaluating(holdout=0.2), "data": "own.py:load"}, 'split "test"'),
    ],
)
def test_models_are_scored_on_samples_that_they_were_not_trained_on(fields, told):
    with pytest.raises(UsageError, match=told):
        FederateJob(dataset="digits", **fields)


def test_which_samples_of_a_client_are_scored():
    held = Evaluating(holdout=0.2)
    assert FederateJob(dataset="digits").scored_part == "train"
    assert FederateJob(dataset="digits", evaluating=held).scored_part == "held-out"
    assert FederateJob(dataset="digits", data="own.py:load").scored_part == "held-out"


def test_who_is_asked_when():
    assert not Evaluating().is_asked
    assert Evaluating(holdout=0.1).is_asked
    assert not Evaluating(holdout=0.1).is_due(10)
    assert Evaluating(clients=0).is_asked
    assert not Evaluating(clients=0).is_due(1)
    assert [n for n in range(1, 7) if Evaluating(clients=3).is_due(n)] == [3, 6]


def test_so_many_models_are_kept():
    with pytest.raises(UsageError, match="add --personalize E"):
        Evaluating(keep_personal=True)
    keeping = Evaluating(holdout=0.2, personalize=1.0, keep_personal=True)
    assert FederateJob(dataset="digits", clients=1000, evaluating=keeping).clients == 1000
    with pytest.raises(UsageError, match=r"would keep 1001 models, .* at most 1000"):
        FederateJob(dataset="digits", clients=1001, evaluating=keeping)
