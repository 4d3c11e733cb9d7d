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
    slots_name,
    state_name,
)
from disdel.controller.training.fleet import Trained
from disdel.controller.training.stopping import best_round
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.types import RoundReport, TrainJob
from disdel.types.events import Listener, Noted


class States:
    """Keeps what the rounds leave, so that a long run needs no more memory than a short one.

    Args:
        store: where the workers leave it.
        keys: the run's.
        files: what a controller that goes on will find.
        job: says which rounds may be needed again.
        emit: told when a round could not be saved.
    """

    def __init__(
        self, store: Store, keys: RunKeys, files: ProgressFiles, job: TrainJob, emit: Listener
    ) -> None:
        self._store = store
        self._keys = keys
        self._files = files
        self._job = job
        self._emit = emit
        # The rounds whose averages are in the store; 0 is the initial state.
        self._stored: set[int] = set()
        self._saving: asyncio.Task[None] | None = None

    def restore(self, progress: Progress, clients: int) -> dict[int, str]:
        """Put what the last complete round has left where the next one looks for it.

        Returns:
            Where each client's optimizer is kept, when they keep their own.
        """
        done = progress.done
        self._files.begin(progress)
        self._stored = {done}
        if not done:
            return {}
        self._stored |= self._needed([entry.report for entry in progress.rounds])
        for number in self._stored:
            self._store.put(self._keys.state(number), self._files.read_tensors(state_name(number)))
        slots: dict[int, str] = {}
        if self._job.optimizer_state == "local":
            for client in range(clients):
                key = slots[client] = self._keys.slots(done, client, 0, 0)
                self._store.put(key, self._files.read_tensors(slots_name(done, client)))
        return slots

    def forget_updates(self, trained: Sequence[Trained]) -> None:
        """Delete what went into a new average."""
        for work in trained:
            for key in (work.update.key, *work.spent):
                self._store.delete(key)

    def forget_averages(self, rounds: Sequence[RoundReport]) -> None:
        """Delete the averages that nobody may need any more after `rounds`."""
        needed = self._needed(rounds)
        for old in self._stored - needed:
            self._store.delete(self._keys.state(old))
        self._stored = needed

    def save(
        self, complete: CompleteRound, rounds: Sequence[RoundReport], slots: dict[int, str]
    ) -> None:
        """Begin to save a complete round, the last of `rounds`, while the next one trains."""
        number = complete.report.round
        wanted = {state_name(needed): self._keys.state(needed) for needed in self._needed(rounds)}
        wanted |= {slots_name(number, client): key for client, key in slots.items()}
        self._saving = background(asyncio.to_thread(self._save, complete, wanted))

    async def saved(self) -> None:
        """Wait until the last round is saved."""
        if self._saving is not None:
            await self._saving

    def _save(self, complete: CompleteRound, wanted: dict[str, str]) -> None:
        tensors = {name: partial(self._store.get, key) for name, key in wanted.items()}
        try:
            self._files.add(complete, tensors)
        except OSError as error:
            number = complete.report.round
            self._emit(Noted(message=f"round {number} was not saved for --resume: {error}"))

    def _needed(self, rounds: Sequence[RoundReport]) -> set[int]:
        """The rounds whose averages may still be needed after `rounds`.

        Until a successor has been scored, the last that was scored is the last good one.
        """
        last = rounds[-1].round
        scored = [entry.round for entry in rounds if entry.loss is not None]
        needed = {last, *scored[-1:]}
        if self._job.validation.patience is not None:
            needed.add(best_round(rounds) or last)
        return needed
