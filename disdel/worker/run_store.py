"""The store as an activation sees it: nothing stays there of a run that is over."""

from __future__ import annotations

from collections.abc import Iterable

from disdel.store.base import Buffer
from disdel.store.keys import RunKeys
from disdel.store.redis_store import RedisStore
from disdel.worker.wanted import NotWanted


class RunStore(RedisStore):
    """The store of one run, which may end while an activation writes.

    Whoever ends a run first deletes what it knows of, the mark of the run included. So a writer
    that finds no mark after its write came too late, and deletes again what it wrote. Where there
    was no mark to begin with (actions called by hand) nothing is looked at.

    Args:
        url: the server's, as `RedisStore` takes it.
        run: the run's id.

    Raises:
        ConnectionRefused: no Redis answers there.
    """

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url)
        self._mark = RunKeys(run).open
        self._marked = self._is_marked()

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
            raise NotWanted(f"{key} was not kept: the run is over")
