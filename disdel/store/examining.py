"""Looking at a store of any kind before a run; on the host alone, no action carries it."""

from __future__ import annotations

from functools import partial

from disdel.errors import ConnectionRefused, StoreLost
from disdel.protocol.keys import KEYS
from disdel.store import redis_examination
from disdel.store.base import Store
from disdel.store.examination import Examination
from disdel.store.objects.s3 import S3Store
from disdel.store.redis_store import RedisStore


def examine(store: Store) -> Examination:
    """What kind of server this is, and how much room it has.

    Raises:
        ConnectionRefused: a run's data cannot be kept there.
        StoreError: it refuses to be asked, or does not answer any more.
    """
    if isinstance(store, RedisStore):
        return store.ask(partial(redis_examination.examine, address=store.address))
    if isinstance(store, S3Store):
        try:
            store.try_out()
        except StoreLost as error:
            # As of a Redis where none answers: what is wrong is most likely its address.
            raise ConnectionRefused(f"{error}; check --store") from error
        store.remove_expired(KEYS)
    return Examination()
