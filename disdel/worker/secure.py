"""The stages of a secure sum in the containers of its clients, and what is read of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from disdel.errors import AggregationError, UsageError
from disdel.protocol.client_messages import SecureReply, SecureRequest, SecureSession
from disdel.protocol.protection import SECRET_PARAMETER
from disdel.secure_aggregation.keys import ClientKeys, Session, secret_of_client
from disdel.secure_aggregation.protocol import Circle, advert_of, advert_record, reveal, share
from disdel.secure_aggregation.records import Record, packed, unpacked
from disdel.store.base import Store
from disdel.worker.context import Context


class ClientSecrets:
    """The secrets of the clients of a container; its parameters are the only place of them.

    Args:
        parameter: from which each client's own is derived, in hexadecimal.
    """

    def __init__(self, parameter: str | None) -> None:
        self._parameter = parameter

    def of(self, client: int) -> bytes:
        """A client's own.

        Raises:
            UsageError: the action was given none.
        """
        if self._parameter is None:
            raise UsageError(
                f"the train action has no parameter {SECRET_PARAMETER}, of which clients of a "
                "secure sum have their keys: the platform does not bind parameters to actions"
            )
        return secret_of_client(bytes.fromhex(self._parameter), client)

    def keys(self, session: SecureSession, client: int) -> ClientKeys:
        return ClientKeys.derive(self.of(client), session_of(session), client)


def session_of(told: SecureSession) -> Session:
    return Session(told.run, told.round, told.attempt)


def secure_stage(request: SecureRequest, context: Context) -> SecureReply:
    """Take one stage of a secure sum for the clients of a request.

    Raises:
        AggregationError: what others have said was changed, or another set of clients has been
            fixed already.
        UsageError: the clients have no secrets here, or `cryptography` is missing.
    """
    said = list(_said(request, context.store, ClientSecrets(context.client_secret)))
    context.store.put(request.to_key, packed(said))
    context.clock.ended("stored")
    return SecureReply(
        clients=request.clients,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=context.clock.phases(),
    )


def _said(request: SecureRequest, store: Store, secrets: ClientSecrets) -> Iterator[Record]:
    session = request.session
    all_keys = [secrets.keys(session, client) for client in request.clients]
    if request.stage == "advertise":
        yield from (advert_record(keys.advert()) for keys in all_keys)
        return
    circle = read_circle(store, session)
    if request.stage == "share":
        for keys in all_keys:
            yield from share(keys, circle)
        return
    shared, summed = fixed_clients(store, session)
    mine = set(request.clients)
    sealed = [one for one in read_records(store, session.share_keys) if one.other in mine]
    for keys in all_keys:
        yield from reveal(keys, circle, sealed, shared, summed)


def read_circle(store: Store, session: SecureSession) -> Circle:
    """Those who have advertised, from what they have stored."""
    adverts = map(advert_of, read_records(store, session.advert_keys))
    return Circle.of(session_of(session), adverts, session.threshold)


def read_records(store: Store, keys: Iterable[str]) -> list[Record]:
    return [record for key in keys for record in unpacked(store.get(key))]


def fixed_clients(store: Store, session: SecureSession) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Who has shared secrets, and whose updates are in the sum.

    Raises:
        AggregationError: an earlier request of the session has named others. To reveal for both
            would unmask single updates.
    """
    shared, summed = session.shared or (), session.summed or ()
    fix(store, session, "shared", shared)
    fix(store, session, "summed", summed)
    return shared, summed


def fix(
    store: Store, session: SecureSession, what: Literal["shared", "summed"], clients: Sequence[int]
) -> None:
    """Have a set of clients fixed for a session, by whoever names it first.

    Raises:
        AggregationError: it was fixed to be another.
    """
    told = hashlib.sha256(json.dumps(sorted(clients)).encode()).hexdigest()
    if store.claim_field(session.claims_key, session.claimed_field(what), told) != told:
        raise AggregationError(
            f"the clients of the secure sum of round {session.round} were others before ({what}): "
            "to go on would unmask single updates"
        )
