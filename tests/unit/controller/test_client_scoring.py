"""Scores by client: in waves that have room, and who has none is told with the reason."""

import asyncio

import numpy as np
import pytest

from disdel.controller.federating import client_scoring
from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.client_scoring import ClientScoring
from disdel.controller.federating.cohort import Answered, Cohort
from disdel.controller.federating.roster import Roster
from disdel.protocol import client_messages
from disdel.types import FederateJob
from disdel.types.assignment import Assignment
from disdel.types.evaluating import Evaluating
from tests.support.planning import dataset

CLIENTS = 12


class Data(ClientData):
    def __init__(self, room_bytes):
        self.room_bytes, self.made = room_bytes, []

    def key(self, client, part="train"):
        return f"{part}:{client}"

    def make_ready(self, clients, part="train"):
        self.made.append((part, list(clients)))


class Cohorts:
    """Each client is right in as many samples as its number says, and in one more once trained."""

    gone = ()

    def __init__(self):
        self.sent, self.stored = [], []
        self.turns = self

    def further(self, client, number, epochs):
        return client_messages.ClientTurn(
            client=client,
            shard_key=f"train:{client}",
            start_step=0,
            stop_step=int(2 * epochs),
            batch_size=4,
            weight=0.0,
        )

    async def count(self, number, clients):
        return {client: "gone meanwhile" for client in clients if client in self.gone}

    async def score_by_clients(self, number, turns):
        self.sent.append([turn.client for turn in turns])
        self.stored += [turn.model_key for turn in turns if turn.model_key is not None]
        cohort = Cohort(number, {turn.client: turn for turn in turns}, None, task="score")
        for turn in turns:
            assert turn.score_keys == (f"held-out:{turn.client}",)
            if turn.client == 2:
                cohort.drop([2], "no disk")
                continue
            correct = turn.client + bool(turn.stop_step)
            score = client_messages.ScoreSums(samples=20, loss_sum=10.0, correct=correct)
            result = client_messages.ClientResult(
                client=turn.client,
                steps=turn.stop_step,
                samples=0,
                loss_sum=0.0,
                train_s=0.0,
                score=None if turn.client == 5 else score,
            )
            cohort.answered[turn.client] = Answered(result, 0, 0, 0.0, None, 0)
        return cohort


def scores(monkeypatch, *, samples_of_room=10_000, personal=None, final=False, **asked):
    monkeypatch.setattr(client_scoring, "sample_bytes", lambda spec: 100)
    job = FederateJob(
        dataset="digits", clients=CLIENTS, evaluating=Evaluating(holdout=0.5, **asked)
    )
    sizes = np.full(CLIENTS, 40)
    roster = Roster(job, Assignment.of_ranges(sizes, lambda: np.arange(sizes.sum())))
    data, cohorts, told = Data(2 * 100 * samples_of_room), Cohorts(), []
    scoring = ClientScoring(job, roster, data, cohorts, dataset(), 1, told.append, personal)
    found = asyncio.run(scoring.final_scores(3) if final else scoring.scores(3))
    return found, data, cohorts, [event.message for event in told]


def test_who_has_no_score_is_told_and_counted(monkeypatch):
    found, _, cohorts, told = scores(monkeypatch)
    assert (found.round, found.part, found.clients, found.unscored) == (3, "held-out", 10, 2)
    assert [one.accuracy for one in found.by_client] == [
        client / 20 for client in range(CLIENTS) if client not in (2, 5)
    ]
    assert found.loss.mean == 0.5
    assert found.worst[0] == 0
    [message] = told
    assert "round 3's model: client 2: no disk; client 5: its loss is no finite number" in message
    assert found.personal_accuracy is None
    assert len(cohorts.sent) == 1


def test_only_who_was_scored_trains_further(monkeypatch):
    found, data, cohorts, _ = scores(monkeypatch, personalize=1.5)
    assert cohorts.sent == [list(range(CLIENTS)), [c for c in range(CLIENTS) if c not in (2, 5)]]
    assert [part for part, _ in data.made] == ["held-out", "train"]
    first = found.by_client[0]
    assert (first.accuracy, first.personal_accuracy) == (0.0, 0.05)


class Personal:
    """As large as ten samples are."""

    most_bytes = 1000

    def __init__(self):
        self.fetched = []

    def key(self, client):
        return f"personal:{client}"

    def fetch(self, clients):
        self.fetched.append(clients)

    def tell(self, clients):
        self.fetched.append(clients)


def test_models_are_kept_of_the_finished_one_alone_as_there_is_room(monkeypatch):
    personal = Personal()
    # Forty samples and a model are as large as fifty.
    kept = {"samples_of_room": 100, "personalize": 1.0, "personal": personal}
    _, _, cohorts, _ = scores(monkeypatch, **kept)
    assert not cohorts.stored
    assert not personal.fetched
    _, _, cohorts, _ = scores(monkeypatch, final=True, **kept)
    # Two of twelve have no score.
    assert personal.fetched == [[0, 1], [3], [4], [6, 7], [8, 9], [10, 11], CLIENTS]
    assert cohorts.stored == [f"personal:{c}" for c in range(CLIENTS) if c not in (2, 5)]


def test_who_cannot_say_how_much_it_would_train_on_has_no_model_of_its_own(monkeypatch):
    monkeypatch.setattr(Cohorts, "gone", (4,))
    found, _, cohorts, [message] = scores(monkeypatch, personalize=1.5)
    assert 4 not in cohorts.sent[1]
    assert [one.client for one in found.by_client if one.personal_accuracy is None] == [4]
    assert "client 4: gone meanwhile" in message


@pytest.mark.parametrize(("room", "each"), [(20, 1), (59, 2), (100, 5)])
def test_no_more_samples_are_in_the_store_at_once_than_have_room(monkeypatch, room, each):
    found, data, _, _ = scores(monkeypatch, samples_of_room=room)
    assert next(len(clients) for _, clients in data.made) == each
    assert [client for _, clients in data.made for client in clients] == list(range(CLIENTS))
    assert found.clients == 10
