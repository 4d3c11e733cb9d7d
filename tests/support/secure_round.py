"""A secure sum from its pure parts: the clients, what is stored of their stages, and the sum."""

from dataclasses import dataclass, field

import numpy as np

from disdel.secure_aggregation import masks
from disdel.secure_aggregation.keys import ClientKeys, Session, secret_of_client
from disdel.secure_aggregation.protocol import (
    Circle,
    advert_of,
    advert_record,
    masks_left,
    masks_of,
    reveal,
    share,
)
from disdel.secure_aggregation.records import packed, unpacked

MASTER = bytes(range(32))


@dataclass
class SecureRound:
    """A session of clients, each with an update of whole numbers.

    Attributes:
        updates: by client, (n,) int64.
        groups: of clients whose updates one container adds up.
        threshold: the share of clients that must stay.
        gone: clients by the stage before which they vanish: share, mask or reveal.
        masked: False leaves the masks out, as a protocol would that protects nothing.
        stored: everything that leaves the clients, by a name.
    """

    updates: dict
    groups: list
    threshold: float = 2 / 3
    gone: dict = field(default_factory=dict)
    session: Session = field(default_factory=lambda: Session("run", 1))
    masked: bool = True
    stored: dict = field(default_factory=dict)

    def run(self):
        """The unmasked sum, (n,) int64."""
        keys = {
            client: ClientKeys.derive(secret_of_client(MASTER, client), self.session, client)
            for client in self.updates
        }
        elements = len(next(iter(self.updates.values())))
        adverts = self._say("adverts", [advert_record(keys[c].advert()) for c in self.updates])
        circle = Circle.of(self.session, map(advert_of, adverts), self.threshold)

        sharing = self._without("share")
        sealed = self._say("shares", [r for c in sharing for r in share(keys[c], circle)])
        self._say_clients("shared", sharing)

        training = self._without("share", "mask")
        partials = []
        for number, group in enumerate(self.groups):
            here = [keys[c] for c in group if c in training]
            if here:
                partial = sum(self.updates[one.client] for one in here).view(np.uint64)
                if self.masked:
                    partial = partial + masks.total(masks_of(here, circle, sharing), 0, elements)
                self.stored[f"partial {number}"] = partial.tobytes()
                partials.append(partial)
        self._say_clients("summed", training)

        staying = self._without("share", "mask", "reveal")
        revealed = self._say(
            "reveals",
            [r for c in staying for r in reveal(keys[c], circle, sealed, sharing, training)],
        )
        total = sum(partials)
        if self.masked:
            left = masks_left(circle, revealed, sharing, training)
            total = total - masks.total(left, 0, elements)
        return total.view(np.int64)

    def expected(self):
        return sum(self.updates[client] for client in self._without("share", "mask"))

    def _without(self, *stages):
        lost = {client for stage in stages for client in self.gone.get(stage, ())}
        return [client for client in self.updates if client not in lost]

    def _say(self, name, records):
        self.stored[name] = packed(records)
        return list(unpacked(self.stored[name]))

    def _say_clients(self, name, clients):
        self.stored[name] = repr(clients).encode()
