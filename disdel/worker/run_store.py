"""The store as an activation sees it: nothing stays there of a run that is over."""

from __future__ import annotations

import math
from collections.abc import Iterable

from disdel.protocol.keys import RunKeys
from disdel.store.base import Buffer
from disdel.store.redis_store import SHORT_PATIENCE_S, RedisStore
from disdel.worker.cancellation import Cancelled


class RunStore(RedisStore):
    """The store of one run, which may end while an activation writes.

    Whoever ends a run first deletes what it knows of, the mark of the run included. So a writer
    that finds no mark after its write came too late, and deletes again what it wrote. Where there
    was no mark to begin with (actions called by hand) nothing is looked at.

    Args:
        url: the server's, as `RedisStore` takes it.
        run: the run's id.
        patience_s: how long a server that fails is tried again, also at the first contact.
        deadline_s: when trying must end in any case, by `time.monotonic`.

    Raises:
        ConnectionRefused: no Redis answers there.
    """

    def __init__(
        self,
        url: str,
        run: str,
        *,
        patience_s: float = SHORT_PATIENCE_S,
        deadline_s: float = math.inf,
    ) -> None:
        super().__init__(
            url, patience_s=patience_s, first_contact_s=patience_s, deadline_s=deadline_s
        )
        self._mark = RunKeys(run).open
        self._claims = RunKeys(run).claims
        self._marked = self._is_marked()

    def claim(self, invocation: str, activation: str) -> str:
        """Who is to do the work of an invocation: the first activation that asks.

        Raises:
            Cancelled: the run is over.
        """
        if not self._marked:
            raise Cancelled("the run is over")
        first = self.claim_field(self._claims, invocation, activation)
        self._keep_claims_while_open()
        return first.split()[0]

    def ended(self, invocation: str, activation: str) -> None:
        """The activation that has claimed an invocation ends, and its record is to come.

        Raises:
            Cancelled: the run is over.
        """
        self.set_field(self._claims, invocation, f"{activation} ended")
        self._keep_claims_while_open()

    def _keep_claims_while_open(self) -> None:
        if not self._is_marked():
            self.delete_fields(self._claims)
            raise Cancelled("the run is over")

    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        super().put_stream(key, pieces)
        self._keep_while_open(key)

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        written = super().put_if_absent(key, data)
        if written:
            self._keep_while_open(key)
        return written

    def _is_marked(self) -> bool:
        return bool(self.fields(self._mark))

    def _keep_while_open(self, key: str) -> None:
        if self._marked and not self._is_marked():
            self.delete(key)
            raise Cancelled(f"{key} was not kept: the run is over")
