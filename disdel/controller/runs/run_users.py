"""The Redis user that a run's actions are given: one of the run's own, where the server allows it.

A run's package holds the address of its Redis, and whoever has the namespace's key can read it.
What is read there opens the keys of this run, while it lasts, and nothing else of the server.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from disdel.controller.session import Session
from disdel.errors import DisdelError, StoreError, StoreLost
from disdel.protocol.keys import RunKeys
from disdel.protocol.memory_grant import CHANNEL
from disdel.store.redis_store import RedisStore, escaped
from disdel.types.events import Listener, Noted

# What activations send: docs/openwhisk.md has the same list.
COMMANDS = (
    *("ping", "select"),
    *("get", "getrange", "exists", "set", "unlink", "expire"),
    *("hget", "hset", "hsetnx"),
)
_CREDENTIALS = ("username", "password")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUser:
    """A user that may do with a run's keys what actions do, and nothing else.

    Attributes:
        run: the run's id.
        asks_for_memory: whether activations tell the memory agent, on its channel.
        password: drawn at random.
    """

    run: str
    asks_for_memory: bool = False
    password: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)

    @property
    def name(self) -> str:
        return f"disdel-{self.run}"

    @property
    def rules(self) -> tuple[str, ...]:
        """What it may, from nothing, in the words of `ACL SETUSER`; a password is its digest."""
        publishes = ("resetchannels", f"&{CHANNEL}", "+publish") if self.asks_for_memory else ()
        return (
            *("reset", "on"),
            f"#{hashlib.sha256(self.password.encode()).hexdigest()}",
            f"~{escaped(f'disdel:{self.run}:')}*",
            *(f"+{command}" for command in COMMANDS),
            *publishes,
        )

    def url(self, url: str) -> str:
        """The server of `url` as this user reaches it; of the user in `url` nothing is left."""
        parts = urlsplit(url)
        query = [
            pair
            for pair in parse_qsl(parts.query, keep_blank_values=True)
            if pair[0] not in _CREDENTIALS
        ]
        netloc = f"{quote(self.name, safe='')}:{self.password}@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query), ""))


def user_of_run(session: Session, run: str, *, asks_for_memory: bool) -> RunUser | None:
    """The user to make; None where the Redis is the run's own, or lets nobody make users."""
    if session.lasting_store is None or not session.examination.makes_users:
        return None
    return RunUser(run=run, asks_for_memory=asks_for_memory)


def address_for_actions(session: Session, user: RunUser | None, emit: Listener) -> str:
    """The Redis's URL as actions are given it, with the user, which is then there, in it.

    Where a user cannot be made or does not get in, it has the user of `--redis`, and that is told.
    """
    store = session.store
    if user is None or not isinstance(store, RedisStore):
        if session.examination.makes_users is False:
            _tell(session, "its user may make no others (ACL SETUSER)", emit)
        return session.store_url
    url = user.url(session.store_url)
    try:
        store.make_user(user.name, user.rules)
        # What stands between, such as a proxy with users of its own, may not know it.
        theirs = RedisStore(url, patience_s=session.patience_s)
        try:
            theirs.get_field(RunKeys(user.run).open, RunKeys.WIRE)
        finally:
            theirs.close()
    except StoreLost:
        raise
    except DisdelError as error:
        _tell(session, str(error), emit)
        try:
            store.remove_user(user.name)
        except StoreError as left:
            emit(Noted(message=f"the user {user.name} was not removed: {left}"))
        return session.store_url
    return url


def _tell(session: Session, why: str, emit: Listener) -> None:
    emit(
        Noted(
            message=f"the Redis at {session.store.address} has no user for this run alone: {why}. "
            "Actions get the user of --redis, whose password whoever has the key of the namespace "
            "can read"
        )
    )
