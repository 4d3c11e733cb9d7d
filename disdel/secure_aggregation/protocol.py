"""The stages of a secure sum, as pure functions of what clients have and what they have read.

1. advertise   each client tells its public keys;
2. share       it gives its neighbours shares of two secrets, each sealed for its receiver: the seed
               of its own mask, and the private key of the masks that it has with its neighbours;
3. mask        its update travels with its own mask and, of each pair, the one adding and the other
               subtracting, the masks that it has with those neighbours who have shared;
4. reveal      of each client whose update is in the sum, its neighbours reveal the shares of its
               own mask's seed; of each one that has vanished since it shared, those of its key;
5. unmask      whoever has the sum reconstructs what is left in it of masks, and takes it away.

Nobody ever reveals both secrets of one client. A client may vanish after any stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from disdel.errors import AggregationError
from disdel.secure_aggregation.graph import degree, neighbours
from disdel.secure_aggregation.keys import (
    Advert,
    ClientKeys,
    Session,
    check_of,
    cryptography,
    pair_seed,
    public_of,
    same,
)
from disdel.secure_aggregation.masks import SignedSeed, pair_sign
from disdel.secure_aggregation.records import Record
from disdel.secure_aggregation.shares import SHARE_BYTES, combine, split

_PUBLIC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Circle:
    """Those who have advertised in a session, and who is whose neighbour.

    Attributes:
        session: of which.
        adverts: of each client.
        neighbours: of each client.
        threshold: so many shares give a secret back.
    """

    session: Session
    adverts: Mapping[int, Advert]
    neighbours: Mapping[int, tuple[int, ...]]
    threshold: int

    @classmethod
    def of(cls, session: Session, adverts: Iterable[Advert], threshold: float) -> Circle:
        """The circle of these clients, of which the share `threshold` must answer to the end.

        Raises:
            UsageError: a sum of so few shows the single ones.
        """
        known = {advert.client: advert for advert in adverts}
        wanted = degree(len(known), threshold)
        seed = int.from_bytes(hashlib.sha256(session.label("graph")).digest(), "big")
        around = neighbours(tuple(known), wanted.neighbours, seed)
        return cls(session, known, around, wanted.threshold)

    def holders(self, client: int) -> tuple[int, ...]:
        """Who has a share of a client's secrets: its neighbours, and itself."""
        return tuple(sorted((client, *self.neighbours[client])))


def advert_record(advert: Advert) -> Record:
    content = advert.mask_public + advert.channel_public + advert.seed_check
    return Record(advert.client, advert.client, content)


def advert_of(record: Record) -> Advert:
    """The public keys in a record of a client.

    Raises:
        AggregationError: it has another size.
    """
    size, text = _PUBLIC_BYTES, record.content
    if len(text) != 3 * size:
        raise AggregationError(f"client {record.client} has told {len(text)} bytes of public keys")
    return Advert(record.client, text[:size], text[size : 2 * size], text[2 * size :])


def share(keys: ClientKeys, circle: Circle) -> Iterator[Record]:
    """What a client seals for each of its neighbours."""
    mine = _own_shares(keys, circle)
    for other in circle.neighbours[keys.client]:
        key = keys.channel_key(circle.adverts[other], sender=keys.client, receiver=other)
        name = circle.session.label("share", keys.client, other)
        yield Record(keys.client, other, cryptography().sealed(key, b"".join(mine[other]), name))


def masks_of(
    clients: Iterable[ClientKeys], circle: Circle, shared: Collection[int]
) -> list[SignedSeed]:
    """The masks in the sum of some clients' updates.

    Masks of pairs of which both are among these clients cancel, and are not in the list.

    Args:
        clients: whose updates are added up.
        circle: of their session.
        shared: those that have shared their secrets; all of `clients` have.
    """
    keys = {one.client: one for one in clients}
    found = []
    for client, own in keys.items():
        found.append(SignedSeed(own.self_seed, 1))
        for other in circle.neighbours[client]:
            if other in shared and other not in keys:
                seed = own.mask_seed(circle.adverts[other])
                found.append(SignedSeed(seed, pair_sign(client, other)))
    return found


def reveal(
    keys: ClientKeys,
    circle: Circle,
    sealed: Iterable[Record],
    shared: Collection[int],
    summed: Collection[int],
) -> Iterator[Record]:
    """What a client reveals of its neighbours' secrets, and of its own mask.

    Args:
        keys: the client's.
        circle: of its session.
        sealed: what others have sealed for it.
        shared: those that have shared their secrets.
        summed: those of them whose updates are in the sum: always the same in a session.

    Raises:
        AggregationError: a message was changed on its way.
    """
    if keys.client in summed:
        yield Record(keys.client, keys.client, _own_shares(keys, circle)[keys.client][1])
    for sender, receiver, text in sealed:
        if receiver != keys.client or sender not in shared:
            continue
        key = keys.channel_key(circle.adverts[sender], sender=sender, receiver=receiver)
        both = cryptography().opened(key, text, circle.session.label("share", sender, receiver))
        of_seed = sender in summed
        yield Record(receiver, sender, both[SHARE_BYTES:] if of_seed else both[:SHARE_BYTES])


def masks_left(
    circle: Circle,
    revealed: Iterable[Record],
    shared: Collection[int],
    summed: Collection[int],
) -> list[SignedSeed]:
    """The masks that the sum of the updates of `summed` still has, from what was revealed.

    Raises:
        AggregationError: too few shares of a secret were revealed, or wrong ones.
    """
    shares: dict[int, dict[int, bytes]] = {}
    for holder, owner, text in revealed:
        shares.setdefault(owner, {})[_point(holder)] = text
    left = []
    for client in sorted(summed):
        seed = _reconstructed(client, shares, circle)
        if not same(check_of(seed), circle.adverts[client].seed_check):
            raise AggregationError(f"the shares of client {client}'s mask are not its own")
        left.append(SignedSeed(seed, 1))
    for gone in sorted(set(shared) - set(summed)):
        bound = [other for other in circle.neighbours[gone] if other in summed]
        if not bound:
            continue
        private = _reconstructed(gone, shares, circle)
        if not same(public_of(private), circle.adverts[gone].mask_public):
            raise AggregationError(f"the shares of client {gone}'s key are not its own")
        for other in bound:
            seed = pair_seed(circle.session, gone, private, circle.adverts[other])
            left.append(SignedSeed(seed, pair_sign(other, gone)))
    return left


def _own_shares(keys: ClientKeys, circle: Circle) -> dict[int, tuple[bytes, bytes]]:
    """Of its key and of its mask's seed, by holder."""
    holders = circle.holders(keys.client)
    points = [_point(holder) for holder in holders]
    # Shared among others, as after an advert that came late, the coefficients are others, too.
    among = keys.session.label("among", *holders, circle.threshold)
    of_key, of_seed = (
        split(secret, circle.threshold, points, keys.share_seed + purpose + among)
        for secret, purpose in ((keys.mask_private, b"key"), (keys.self_seed, b"seed"))
    )
    return {holder: (of_key[_point(holder)], of_seed[_point(holder)]) for holder in holders}


def _point(holder: int) -> int:
    """Where a holder's share is a polynomial's value: not at 0, where the secret is."""
    return holder + 1


def _reconstructed(client: int, shares: Mapping[int, Mapping[int, bytes]], circle: Circle) -> bytes:
    of_client = shares.get(client, {})
    if len(of_client) < circle.threshold:
        raise AggregationError(
            f"{len(of_client)} of the {len(circle.holders(client))} clients that hold shares of "
            f"client {client}'s secrets have answered, and {circle.threshold} must: the sum cannot "
            "be unmasked"
        )
    return combine(of_client, circle.threshold)
