"""The scores of a federation's model on its clients' own samples, made where these train."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.cohorts import CohortContainers
from disdel.controller.federating.dropped import causes_told
from disdel.controller.federating.personal_models import PersonalModels
from disdel.controller.federating.roster import Roster
from disdel.planner.memory import sample_bytes
from disdel.protocol import client_messages
from disdel.types import DatasetSpec, FederateJob
from disdel.types.client_scores import ClientScore, ClientScores, scores_of
from disdel.types.events import Listener, Noted

# Of those that could not be scored, in a message.
_NAMED = 3


class ClientScoring:
    """Scores rounds' models on every client's own samples.

    Args:
        federation: says on which samples, and whether clients train the model further before.
        roster: the clients.
        data: makes their samples available.
        cohorts: the containers.
        dataset: what a sample is.
        labels_each: labels of a sample, of which each is right or wrong.
        emit: told which clients have no score.
        personal: keeps the models that clients have trained further; None where nobody asks.
    """

    def __init__(
        self,
        federation: FederateJob,
        roster: Roster,
        data: ClientData,
        cohorts: CohortContainers,
        dataset: DatasetSpec,
        labels_each: int,
        emit: Listener,
        personal: PersonalModels | None = None,
    ) -> None:
        self._asked = federation.evaluating
        self._roster = roster
        self._data = data
        self._cohorts = cohorts
        self._sample_bytes = sample_bytes(dataset)
        self._labels_each = labels_each
        self._emit = emit
        self._part = federation.scored_part
        self._personal = personal

    async def final_scores(self, number: int) -> ClientScores | None:
        """The same of the finished model, from which those that are kept are trained on."""
        scores = await self.scores(number, self._personal)
        if self._personal is not None:
            self._personal.tell(self._roster.able(0))
        return scores

    async def scores(
        self, number: int, keeping: PersonalModels | None = None
    ) -> ClientScores | None:
        """How the model of round `number` does, which is in the store; None where nobody can say.

        Raises:
            StoreLost, DataGone: the store has failed.
        """
        scored = self._roster.scored
        found: list[ClientScore] = []
        failed: dict[int, str] = {}
        each_bytes = 0 if keeping is None else keeping.most_bytes
        for wave in self._waves(scored, each_bytes):
            before = await self._before(number, wave)
            failed |= before.dropped | _without_number(before)
            told = self._told(before)
            after = await self._after(number, list(told), keeping)
            personal = self._told(after)
            for client, (loss, accuracy, samples) in told.items():
                further = personal.get(client, (None, None, 0))
                found.append(
                    ClientScore(
                        client=client,
                        samples=samples,
                        loss=loss,
                        accuracy=accuracy,
                        personal_loss=further[0],
                        personal_accuracy=further[1],
                    )
                )
            if after is not None:
                failed |= after.dropped | _without_number(after)
            if keeping is not None:
                await asyncio.to_thread(keeping.fetch, list(personal))
        self._tell(number, failed)
        unscored = self._roster.able(0) - len(found)
        return scores_of(number, self._part, found, unscored=unscored)

    def _waves(self, clients: Sequence[int], each_bytes: int) -> Iterator[list[int]]:
        """The clients in groups whose samples, and `each_bytes`, have room in the store."""
        wave: list[int] = []
        # What one wave leaves of the room, the samples of a round may keep.
        most_bytes = room_bytes = self._data.room_bytes // 2
        for client in clients:
            needed_bytes = self._bytes(client) + each_bytes
            if wave and needed_bytes > room_bytes:
                yield wave
                wave, room_bytes = [], most_bytes
            wave.append(client)
            room_bytes -= needed_bytes
        if wave:
            yield wave

    def _bytes(self, client: int) -> int:
        samples = self._roster.samples(client, self._part)
        if self._asked.personalize is not None:
            samples += self._roster.samples(client)
        return samples * self._sample_bytes

    async def _before(self, number: int, wave: Sequence[int]) -> Cohort:
        """The model as it is: turns of no steps."""
        await asyncio.to_thread(self._data.make_ready, wave, self._part)
        keys = {client: self._data.key(client, self._part) for client in wave}
        turns = [
            client_messages.ClientTurn(
                client=client,
                shard_key=key,
                start_step=0,
                stop_step=0,
                batch_size=1,
                weight=0.0,
                split="train" if self._part == "train" else "test",
                **_scored_at(key),
            )
            for client, key in keys.items()
        ]
        return await self._cohorts.score_by_clients(number, turns)

    async def _after(
        self, number: int, wave: Sequence[int], keeping: PersonalModels | None
    ) -> Cohort | None:
        """The model once each client has trained it further."""
        epochs = self._asked.personalize
        if epochs is None:
            return None
        unknown = await self._cohorts.count(number, wave)
        able = [client for client in wave if client not in unknown]
        await asyncio.to_thread(self._data.make_ready, able)
        turns = [
            replace(
                self._cohorts.turns.further(client, number, epochs),
                model_key=None if keeping is None else keeping.key(client),
                **_scored_at(self._data.key(client, self._part)),
            )
            for client in able
        ]
        cohort = await self._cohorts.score_by_clients(number, turns)
        cohort.dropped |= unknown
        return cohort

    def _told(self, cohort: Cohort | None) -> Mapping[int, tuple[float, float | None, int]]:
        """By client: loss and accuracy, and the samples that they are means over."""
        if cohort is None:
            return {}
        return {
            client: (*means(one.result.score, self._labels_each), one.result.score.samples)
            for client, one in sorted(cohort.answered.items())
            if one.result.score is not None
        }

    def _tell(self, number: int, failed: Mapping[int, str]) -> None:
        if not failed:
            return
        told = causes_told(failed, _NAMED)
        self._emit(Noted(message=f"not all clients have scored round {number}'s model: {told}"))


def _without_number(cohort: Cohort) -> dict[int, str]:
    """Why clients have no score whose turn has ended well."""
    return {
        client: "its loss is no finite number"
        for client, one in cohort.answered.items()
        if one.result.score is None
    }


def _scored_at(key: str | None) -> dict[str, Any]:
    """Of a turn: the samples that are scored, or that they are the client's own."""
    return {"scores_own": True} if key is None else {"score_keys": (key,)}


def means(score: client_messages.ScoreSums, labels_each: int) -> tuple[float, float | None]:
    """The loss and the accuracy of a score; no accuracy where there are no classes."""
    labels = score.samples * labels_each if score.labels is None else score.labels
    # Without a label that counts, as Keras has it.
    accuracy = None if score.correct is None else score.correct / max(1, labels)
    return score.loss_sum / score.samples, accuracy
