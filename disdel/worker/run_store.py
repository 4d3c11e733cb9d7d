"""The store as an activation sees it: nothing stays there of a run that is over."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress

from disdel.errors import StoreError
from disdel.protocol.keys import RunKeys
from disdel.store.base import Blob, Buffer, Store
from disdel.worker.cancellation import Cancelled


class RunStore(Store):
    """The store of one run, which may end while an activation writes.

    Whoever ends a run first deletes what it knows of, the mark of the run included. So a writer
    that finds no mark after its write came too late, and deletes again what it wrote. Where there
    was no mark to begin with (actions called by hand) nothing is looked at.

    Args:
        store: where the run's keys are; closed with this one.
        run: the run's id.

    Raises:
        StoreError: it does not answer.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self.address = store.address
        self.lifetime_s = store.lifetime_s
        self.patience = store.patience
        self._mark = RunKeys(run).open
        self._claims = RunKeys(run).claims
        self._again = RunKeys(run).again
        self._marked = self._is_marked()

    def claim(self, invocation: str, activation: str) -> str | None:
        """Who does the work of an invocation, or has done it; None where this activation is to.

        A platform may execute an activation again that has ended: then it has done the work itself.

        Raises:
            Cancelled: the run is over.
        """
        if not self._marked:
            raise Cancelled("the run is over")
        first = self.claim_field(self._claims, invocation, activation)
        if first != activation:
            # Only to be counted; who is lent its own objects alone may not.
            with suppress(StoreError):
                self.set_field(self._again, f"{invocation} {secrets.token_hex(4)}", activation)
        self._keep_claims_while_open()
        return None if first == activation else first.split()[0]

    def ended(self, invocation: str, activation: str, answer: str = "") -> None:
        """The activation that has claimed an invocation ends, and its record is to come.

        Args:
            invocation: what it has claimed.
            activation: its id.
            answer: what it answers, where no record is to come.

        Raises:
            Cancelled: the run is over.
        """
        self.set_field(self._claims, invocation, f"{activation} ended {answer}".rstrip())
        self._keep_claims_while_open()

    def _keep_claims_while_open(self) -> None:
        if not self._is_marked():
            self.delete_fields(self._claims)
            with suppress(StoreError):
                self.delete_fields(self._again)
            raise Cancelled("the run is over")

    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        self._store.put_stream(key, pieces)
        self._keep_while_open(key)

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        written = self._store.put_if_absent(key, data)
        if written:
            self._keep_while_open(key)
        return written

    def _is_marked(self) -> bool:
        return self._store.get_field(self._mark, RunKeys.WIRE) is not None

    def _keep_while_open(self, key: str) -> None:
        if self._marked and not self._is_marked():
            self.delete(key)
            raise Cancelled(f"{key} was not kept: the run is over")

    def open(self, key: str) -> Blob | None:
        return self._store.open(key)

    def get_each(self, keys: Sequence[str]) -> list[bytearray | None]:
        return self._store.get_each(keys)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def delete_prefix(self, prefix: str) -> int:
        return self._store.delete_prefix(prefix)

    def renew_prefix(self, prefix: str) -> None:
        self._store.renew_prefix(prefix)

    def set_field(self, key: str, field: str, value: str) -> None:
        self._store.set_field(key, field, value)

    def claim_field(self, key: str, field: str, value: str) -> str:
        return self._store.claim_field(key, field, value)

    def get_field(self, key: str, field: str) -> str | None:
        return self._store.get_field(key, field)

    def delete_fields(self, key: str) -> None:
        self._store.delete_fields(key)

    def fields(self, key: str) -> dict[str, str]:
        return self._store.fields(key)

    def bring(self, reply: dict[str, object]) -> dict[str, object]:
        return self._store.bring(reply)

    def stop_writing(self, prefix: str) -> None:
        self._store.stop_writing(prefix)

    def close(self) -> None:
        self._store.close()
