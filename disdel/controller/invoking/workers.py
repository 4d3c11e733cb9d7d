"""The workers of a run, whatever they do: how each is run at present, and again after a loss."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TypeVar

from disdel.controller.invoking.actions import SizedAction, persist
from disdel.controller.invoking.berths import Berths
from disdel.controller.invoking.invoker import Call, Invoker
from disdel.controller.invoking.recovery import Attempt, after_warning
from disdel.errors import ActivationFailed, EndpointLost
from disdel.types.events import Noted

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Workers:
    """Each worker's action: its memory, the parts of its batches, its losses in a row.

    Attributes:
        action: what they run.
        invoker: runs activations.
        name: what a worker is called in messages.
        numbers: which workers there are.
        berths: where each of them is, how it begins, and what it may have there.
        batch_size: samples of a step.
        reserved_mb: of the pool, for containers that are not these workers'.
        batches: how batches are cut, in words, for a message.
    """

    action: SizedAction
    invoker: Invoker
    name: str
    numbers: Collection[int]
    berths: Berths
    batch_size: int
    reserved_mb: int = 0
    batches: Callable[[Attempt], str]
    _attempts: dict[int, Attempt] = field(default_factory=dict)

    def attempt(self, worker: int) -> Attempt:
        """How this worker is run at present."""
        return self._attempts.get(worker, self.berths.of(worker).planned)

    def recut(self, numbers: Collection[int], berths: Berths) -> None:
        """Go on with other workers; those that have grown stay as large as they are."""
        self.numbers, self.berths = numbers, berths
        self._attempts = {
            worker: replace(
                attempt, memory_mb=max(attempt.memory_mb, berths.of(worker).planned.memory_mb)
            )
            for worker, attempt in self._attempts.items()
        }

    async def call(
        self, task: str, request: object, worker: int, attempt: Attempt, *, number: int = 0
    ) -> Call:
        """An activation of this worker, in the action's size; `number` is the round."""
        spec = await self.action.of_size(
            attempt.memory_mb,
            generation=self.invoker.generation,
            longest=attempt.longest,
            berth=self.berths.of(worker),
        )
        return Call(
            action=spec.name,
            endpoint=spec.endpoint,
            image=spec.image,
            request=request,
            task=task,
            worker=worker,
            round=number,
            attempt=attempt.losses,
            memory_mb=spec.memory_mb,
            timeout_s=spec.timeout_s,
        )

    async def persist(
        self,
        worker: int,
        send: Callable[[Attempt], Awaitable[T]],
        *,
        moves: bool = True,
        doing: str = "",
    ) -> T:
        """Send until it ends well, each time in the way that the last loss suggests.

        A worker whose endpoint does not answer goes on at another, unless it `moves` nowhere. What
        it was `doing` is told with a loss.

        Raises:
            ActivationFailed: it failed in a way that another attempt would not mend.
        """
        while True:
            try:
                return await self._persist(worker, send, doing)
            except ActivationFailed as failure:
                if failure.cause != EndpointLost.kind or not (moves and self.move(worker)):
                    raise

    def move(self, worker: int, among: Collection[str] | None = None) -> bool:
        """Have a worker go on at another endpoint, of these; whether one of them answers."""
        moved = self.berths.move(worker, among)
        if moved:
            # What it had grown to counts where it was.
            self._attempts.pop(worker, None)
            self.invoker.emit(
                Noted(
                    message=f"{self.name} {worker} goes on at endpoint "
                    f"{self.berths.of(worker).endpoint}"
                )
            )
        return moved

    def settle(self) -> None:
        """Between rounds: have workers where they were planned, of the endpoints that answer."""
        for worker in self.berths.settle():
            self._attempts.pop(worker, None)

    async def _persist(self, worker: int, send: Callable[[Attempt], Awaitable[T]], doing: str) -> T:
        def moved(following: Attempt, failure: ActivationFailed) -> None:
            self._move(worker, following, f"was lost{doing} ({failure.outcome})")

        ended = await persist(
            send,
            self.attempt(worker),
            ceiling_mb=lambda: self._ceiling_mb(worker),
            batch_size=self.batch_size,
            moved=moved,
        )
        # The losses are behind this worker; the way in which it runs is kept.
        self._attempts[worker] = replace(self.attempt(worker), losses=0)
        return ended

    def give_room(self, worker: int) -> None:
        """After a segment that saved its work for lack of memory."""
        following = after_warning(
            self.attempt(worker), ceiling_mb=self._ceiling_mb(worker), batch_size=self.batch_size
        )
        self._move(worker, following, "is short of memory")

    def restore(self, worker: int, attempt: Attempt) -> None:
        """Run a worker as it was run before, after what did not help."""
        self._attempts[worker] = replace(attempt, losses=0)

    def free_mb(self, worker: int) -> int:
        """The memory that is left for this worker beside the others."""
        berth = self.berths.of(worker)
        if berth.pool_mb is None:
            return berth.memory_max_mb
        taken = sum(
            self.attempt(other).memory_mb
            for other in self.numbers
            if other != worker and self.berths.of(other).endpoint == berth.endpoint
        )
        return berth.pool_mb - taken - self.reserved_mb

    def _ceiling_mb(self, worker: int) -> int:
        return min(self.berths.of(worker).memory_max_mb, self.free_mb(worker))

    def _move(self, worker: int, following: Attempt, why: str) -> None:
        self._attempts[worker] = following
        self.invoker.emit(
            Noted(
                message=f"{self.name} {worker} {why}; it goes on with {following.memory_mb} MB"
                f"{self.batches(following)}"
            )
        )
