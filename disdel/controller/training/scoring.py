"""The averages of a run as models: scored by the workers, and written as files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.planning.compiled import CompiledNetwork
from disdel.controller.runs.rescue import write_somewhere
from disdel.controller.training.containers import TrainContainers
from disdel.controller.training.crew import Crew
from disdel.errors import DisdelError
from disdel.planner.memory import score_batch
from disdel.protocol import messages
from disdel.runtimes.registry import runtime_named
from disdel.types import RoundReport, Score, Slice, Split
from disdel.types.events import Noted

# Workers tell a score in some tenths of a second, or after the start of a container.
_POLL_S = 0.03


@dataclass(slots=True)
class AveragedModel:
    """Scores averages on a held-out split, in slices on the workers' warm containers.

    Attributes:
        fleet: the workers.
        crew: says which slices there are.
        invoker: of the run.
        compiled: writes the file of a compiled network, whose actions store its state.
        is_exported: whether the model of the last round that was scored has been stored.
        model_path: the file of the model, once it is saved.
    """

    fleet: TrainContainers
    crew: Crew
    invoker: Invoker
    compiled: CompiledNetwork | None
    is_exported: bool = False
    model_path: Path | None = None

    async def score(self, number: int, split: Split, *, exports: bool) -> Score:
        """The score of a round's average; with `exports`, one worker also stores the model."""
        slices = [part for part in self.crew.plan.slices(split) if part.samples]
        replies = await all_of(
            self.fleet.score(self._slice(s, split, number, exports=exports and s is slices[0]))
            for s in slices
        )
        self.is_exported = exports
        return self._joined(replies)

    def first(self, number: int) -> dict[int, messages.ScoreFirst]:
        """What workers are to do, before they train on from a round's average, to score it."""
        keys, plan = self.invoker.keys, self.crew.plan
        return {
            part.worker: messages.ScoreFirst(
                round=number,
                batch_size=score_batch(plan.micro_batches),
                shard_key=keys.shard(plan.scored_on, part.name),
                scores_key=keys.scores(number),
            )
            for part in plan.slices(plan.scored_on)
            if part.samples
        }

    async def told(self, number: int) -> Score:
        """The score of a round's average, once the workers who do as `first` says have told it."""
        store, key = self.invoker.session.store, self.invoker.keys.scores(number)
        wanted = {str(worker) for worker in self.first(number)}
        while not wanted <= (said := await asyncio.to_thread(store.fields, key)).keys():
            await asyncio.sleep(_POLL_S)
        # Ordered as replies are, since sums depend on it.
        scores = [
            messages.from_json(messages.SliceScore, json.loads(said[worker]))
            for worker in sorted(wanted, key=int)
        ]
        await asyncio.to_thread(store.delete_fields, key)
        return self._joined(scores)

    def _joined(self, slices: Sequence[messages.SliceScore]) -> Score:
        return joined(slices, self.fleet.network().model.target.elements)

    async def export(self, number: int) -> None:
        """Let a worker store the model of a round."""
        split = self.crew.plan.scored_on
        [first, *_] = self.crew.plan.slices(split)
        await self.fleet.score(self._slice(first, split, number, exports=True))

    async def save(self) -> None:
        """Write the model that was stored into the run's folder, or where there is room.

        Raises:
            HostFailed: there is none anywhere.
        """
        self.model_path = await self._fetch(self.invoker.folder.new_model(self._suffix))

    async def save_last_good(self, rounds: Sequence[RoundReport]) -> str:
        """Save the model of the last of `rounds` that was scored, and say where it is."""
        good = [entry.round for entry in rounds if entry.loss is not None]
        if not good:
            return "No round had been scored, so there is no earlier model."
        number, path = good[-1], self.invoker.folder.last_good(self._suffix)
        try:
            await self.export(number)
            path = await self._fetch(path)
        except DisdelError as error:
            return f"The model of round {number}, the last good one, could not be saved: {error}."
        return (
            f"The model of round {number}, the last good one, is in {path}: "
            f"disdel infer {self.fleet.job.dataset} --model {path} evaluates it."
        )

    @property
    def _suffix(self) -> str:
        return runtime_named(self.crew.plan.runtime).model_suffix

    async def _fetch(self, path: Path) -> Path:
        store, key = self.invoker.session.store, self.invoker.keys.model
        data = bytes(await asyncio.to_thread(store.get, key))
        if self.compiled is not None:
            data = await asyncio.to_thread(self.compiled.keras_file, data)
        found, why = await asyncio.to_thread(write_somewhere, path, data)
        if why is not None:
            self.invoker.emit(Noted(message=f"{why}: the model is in {found}"))
        return found

    def _slice(
        self, part: Slice, split: Split, number: int, *, exports: bool
    ) -> messages.ScoreRequest:
        keys = self.invoker.keys
        return messages.ScoreRequest(
            network=self.fleet.network(),
            worker=part.worker,
            round=number,
            batch_size=score_batch(self.crew.plan.micro_batches),
            shard_key=keys.shard(split, part.name),
            state_key=keys.state(number),
            model_key=keys.model if exports else None,
            progress_key=keys.progress,
        )


def joined(slices: Sequence[messages.SliceScore], labels_each: int) -> Score:
    """The score of all slices, of whose samples each has so many labels."""
    samples = sum(one.samples for one in slices)
    labels = sum(one.samples * labels_each if one.labels is None else one.labels for one in slices)
    # Where masks leave no label at all, all is 0, as Keras has it.
    counted = labels / labels_each or 1.0
    correct = [one.correct for one in slices if one.correct is not None]
    return Score(
        loss=sum(one.loss_sum for one in slices) / samples,
        accuracy=sum(correct) / max(1, labels) if correct else None,
        metrics={
            name: sum(one.metric_sums[name] for one in slices) / counted
            for name in slices[0].metric_sums
        },
    )
