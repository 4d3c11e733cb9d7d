"""The averages of a run: in the store as long as they are needed, and on disk to go on from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from disdel.controller.invoking.background import background
from disdel.controller.runs.progress import (
    CompleteRound,
    Progress,
    ProgressFiles,
    kept_name,
    optimizer_name,
    own_name,
    own_place,
    state_name,
)
from disdel.controller.training.containers import Kept, TrainContainers
from disdel.controller.training.observers import DoneRound, JoinedRound, RoundObserver
from disdel.controller.training.stopping import best_round
from disdel.types import RoundReport
from disdel.types.events import Noted


class Checkpoints(RoundObserver):
    """Keeps what the rounds leave, so that a long run needs no more memory than a short one.

    Args:
        fleet: the workers. Their job says which rounds may be needed again, and their strategy
            whether it keeps tensors of its own.
        files: what a controller that goes on will find.
    """

    def __init__(self, fleet: TrainContainers, files: ProgressFiles) -> None:
        self._fleet = fleet
        self._files = files
        self._store = fleet.invoker.session.store
        self._keys = fleet.invoker.keys
        self._keeps = bool(fleet.strategy.kept)
        # The rounds whose averages are in the store; 0 is the initial state.
        self._stored: set[int] = set()
        self._saving: asyncio.Task[None] | None = None

    async def run_started(self, progress: Progress) -> None:
        """Put what the last complete round has left where the next one looks for it."""
        await self._fleet.invoker.write(self._restore, progress)

    def _restore(self, progress: Progress) -> None:
        done = progress.done
        self._files.begin(progress)
        self._stored = {done}
        if not done:
            return
        self._stored |= self._needed([entry.report for entry in progress.rounds])
        for number in self._stored:
            self._store.put(self._keys.state(number), self._files.read_tensors(state_name(number)))
        if self._keeps:
            self._store.put(self._keys.kept(done), self._files.read_tensors(kept_name(done)))
        if self._fleet.job.optimizer_state == "local":
            for client in range(len(self._fleet.plan.client_samples)):
                name = optimizer_name(done, client)
                # Who has not taken part in any round yet has none.
                if name in progress.rounds[-1].checksums:
                    key = self._fleet.optimizers[client] = self._keys.optimizer(done, client, 0, 0)
                    self._store.put(key, self._files.read_tensors(name))
        for name in progress.rounds[-1].checksums:
            if (place := own_place(name)) is not None:
                number, client = place
                key = self._keys.own(number, client, 0, 0)
                self._fleet.own[client] = Kept(key, number)
                self._store.put(key, self._files.read_tensors(name))

    async def round_joined(self, joined: JoinedRound) -> None:
        """Delete what went into a new state."""
        # Of the round before, something of that may still be being saved.
        await self._saved()
        await asyncio.to_thread(self._delete, joined.spent)

    async def round_done(self, done: DoneRound) -> None:
        """Delete what nobody may need any more, and save the round while the next one trains."""
        needed = self._needed(done.reports)
        stored = needed | (self._stored & self._fleet.states_in_use())
        old = [self._keys.state(number) for number in self._stored - stored]
        wanted = {state_name(number): self._keys.state(number) for number in needed}
        if self._keeps:
            old.append(self._keys.kept(done.number - 1))
            wanted[kept_name(done.number)] = self._keys.kept(done.number)
        fleet, number = self._fleet, done.number
        wanted |= {optimizer_name(number, client): k for client, k in fleet.optimizers.items()}
        # Who has not taken part since keeps the file that is there.
        wanted |= {own_name(kept.round, client): kept.key for client, kept in fleet.own.items()}
        await asyncio.to_thread(self._delete, old)
        self._stored = stored
        self._saving = background(asyncio.to_thread(self._save, done.complete, wanted))

    async def run_ended(self) -> None:
        await self._saved()

    async def _saved(self) -> None:
        """Wait until the last round is saved."""
        if self._saving is not None:
            await self._saving

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._store.delete(key)

    def _save(self, complete: CompleteRound, wanted: dict[str, str]) -> None:
        tensors = {name: partial(self._store.get, key) for name, key in wanted.items()}
        try:
            self._files.add(complete, tensors)
        except OSError as error:
            told = f"round {complete.report.round} was not saved for --resume: {error}"
            self._fleet.invoker.emit(Noted(message=told))

    def _needed(self, rounds: Sequence[RoundReport]) -> set[int]:
        """The rounds whose averages may still be needed after `rounds`.

        Until a successor has been scored, the last that was scored is the last good one.
        """
        last = rounds[-1].round
        scored = [entry.round for entry in rounds if entry.loss is not None]
        needed = {last, *scored[-1:]}
        if self._fleet.job.validation.patience is not None:
            needed.add(best_round(rounds) or last)
        return needed
