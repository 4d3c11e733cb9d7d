"""What an activation knows of itself: its run, its store, its deadline and its memory."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from disdel.errors import StoreError
from disdel.protocol.messages import Common, from_json
from disdel.store.base import Store
from disdel.store.opening import open_store
from disdel.types.units import mb_ceil
from disdel.worker.cancellation import Cancelled
from disdel.worker.footprint import working_set_bytes
from disdel.worker.phases import PhaseClock
from disdel.worker.run_store import RunStore
from openwhisk_local.machine.container_memory import UsesMemory, critical_region_bytes, watch_memory

# A whole process without a deadline (a test, a replay) may run for a day.
_NO_DEADLINE_S = 86_400.0
# What is left for the answer when the store is no longer waited for.
_ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class Context:
    """One activation's surroundings.

    Attributes:
        store: the run's store.
        deadline_s: when the platform will kill the activation, in seconds since the epoch.
        memory: this container's memory.
        clock: when the activation was through with what.
        client_secret: of which the secrets of clients are derived, in hexadecimal.
        answer: where what it answers is put, as JSON, to be left with its claim; None where the
            platform has records.
    """

    store: Store
    deadline_s: float
    memory: UsesMemory
    clock: PhaseClock = field(default_factory=PhaseClock)
    client_secret: str | None = field(default=None, repr=False)
    answer: list[str] | None = field(default=None, repr=False)

    def answers(self, reply: Mapping[str, object]) -> None:
        """Leave what it answers where it is found, should the platform lose it."""
        if self.answer is not None:
            self.answer[:] = [json.dumps(reply)]

    def remaining_s(self) -> float:
        return self.deadline_s - time.time()

    def peak_mb(self) -> int:
        return mb_ceil(self.memory.use().peak_bytes)

    def working_set_mb(self) -> int:
        return mb_ceil(working_set_bytes())

    def short_of_memory(self) -> bool:
        """Whether the limit leaves too little beside the working set.

        More may be charged: of library pages that are not needed the kernel drops what it must.
        """
        use = self.memory.use()
        if not use.critical or use.limit_bytes is None:
            return use.critical
        return working_set_bytes() + critical_region_bytes() > use.limit_bytes

    def wait_for(self, key: str) -> None:
        """Wait for a blob that the controller is still staging, at most until the deadline."""
        self.store.wait_for(key, time.monotonic() + max(0.0, self.remaining_s()))

    def report(self, progress_key: str, progress: ProgressEntry) -> None:
        """Show `progress` to whoever watches the run; losing it loses nothing."""
        use = self.memory.use()
        shown = {
            **progress.fields,
            "memory_mb": mb_ceil(use.used_bytes),
            "limit_mb": None if use.limit_bytes is None else mb_ceil(use.limit_bytes),
        }
        try:
            self.store.set_field(progress_key, str(progress.worker), json.dumps(shown))
        except StoreError as error:
            print(f"progress was not stored: {error}")  # noqa: T201 - the activation's log


@dataclass(frozen=True, slots=True)
class ProgressEntry:
    """A line of the live view: the worker's number, and its state, epoch, step and loss."""

    worker: int
    fields: Mapping[str, object]


@contextmanager
def activation_context(
    args: Mapping[str, object], environ: Mapping[str, str] = os.environ
) -> Iterator[Context]:
    """The context of the activation that was called with `args`.

    Raises:
        UsageError: the arguments are none of a request.
        ConnectionRefused: the store does not answer.
        ClaimedElsewhere: another activation is doing the work.
        Cancelled: the run is over.
    """
    common = from_json(Common, args)
    os.environ.update(common.env)
    clock = PhaseClock()
    deadline_ms = environ.get("__OW_DEADLINE")
    deadline_s = float(deadline_ms) / 1000 if deadline_ms else time.time() + _NO_DEADLINE_S
    with watch_memory() as memory:
        opened = open_store(
            common.store,
            patience_s=common.patience_s,
            first_contact_s=common.patience_s,
            # While there is still time to say what was in the way.
            deadline_s=time.monotonic() + deadline_s - time.time() - _ANSWER_S,
        )
        try:
            store = RunStore(opened, common.run)
            answer: list[str] | None = [] if common.keeps_answer else None
            with _claimed(store, common.invocation, environ, answer):
                yield Context(store, deadline_s, memory, clock, common.client_secret, answer)
        finally:
            opened.close()


class ClaimedElsewhere(Exception):
    """The work of this activation is another one's, or was done when it was executed before.

    Attributes:
        claimed_by: the id of who has done it.
    """

    def __init__(self, claimed_by: str) -> None:
        super().__init__(claimed_by)
        self.claimed_by = claimed_by


@contextmanager
def _claimed(
    store: RunStore, invocation: str | None, environ: Mapping[str, str], answer: list[str] | None
) -> Iterator[None]:
    """Inside, this activation is known to do the work of an invocation; `answer` is left then."""
    if invocation is None:
        yield
        return
    own = environ.get("__OW_ACTIVATION_ID") or secrets.token_hex(16)
    if (first := store.claim(invocation, own)) is not None:
        raise ClaimedElsewhere(first)
    try:
        yield
    finally:
        # Only to be found sooner, should its answer get lost.
        with suppress(StoreError, Cancelled):
            store.ended(invocation, own, *(answer or ()))


class Throttle:
    """True at most once every `interval_s`."""

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next_s = clock()

    def due(self) -> bool:
        if self._clock() < self._next_s:
            return False
        self._next_s = self._clock() + self._interval_s
        return True
