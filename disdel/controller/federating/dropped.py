"""What a user is told of clients whose updates do not count."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from disdel.types import DroppedClient

# Of those that have not answered, and of the reasons, in a message; the report has them all.
_NAMED = 5


def dropped_clients(
    dropped: Iterable[tuple[int, str]], ended: Collection[int]
) -> tuple[DroppedClient, ...]:
    """What the report says of clients that are left out, by client, and who ended containers."""
    return tuple(
        DroppedClient(client=client, why=why, ended_container=client in ended)
        for client, why in sorted(dropped)
    )


class DropNotes:
    """Notes of clients that are left out, each of them the first time."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def of_round(self, number: int, dropped: Mapping[int, str]) -> list[str]:
        """What is to be said of a round, a sentence by reason, and one of those beyond a few."""
        new = _by_reason(dropped, dropped.keys() - self._told)
        self._told |= dropped.keys()
        notes = [
            f"{named_clients(clients)} {'are' if len(clients) > 1 else 'is'} left out of round "
            f"{number}: {why}"
            for why, clients in new[:_NAMED]
        ]
        if rest := sum(len(clients) for _, clients in new[_NAMED:]):
            are = "more clients are" if rest > 1 else "more client is"
            notes.append(
                f"{rest} {are} left out of round {number}: the report says why "
                "(rounds[].clients.dropped)"
            )
        return notes


def causes_told(dropped: Mapping[int, str], named: int = _NAMED) -> str:
    """Why clients have not answered: the first few reasons, with the clients of each."""
    reasons = _by_reason(dropped, dropped.keys())
    told = [f"{named_clients(clients)}: {why}" for why, clients in reasons[:named]]
    if rest := sum(len(clients) for _, clients in reasons[named:]):
        told.append(f"and {rest} other{'s' * (rest > 1)}")
    return "; ".join(told)


def _by_reason(dropped: Mapping[int, str], clients: Iterable[int]) -> list[tuple[str, list[int]]]:
    """The clients of each reason, ascending, in the order of the first of them.

    Reasons are parts of sentences here, and some are a platform's own sentences.
    """
    found: dict[str, list[int]] = {}
    for client in sorted(clients):
        found.setdefault(dropped[client].rstrip("."), []).append(client)
    return list(found.items())


def named_clients(clients: Sequence[int]) -> str:
    """Clients by number: the first few, and how many there are besides."""
    if len(clients) == 1:
        return f"client {clients[0]}"
    told = ", ".join(map(str, clients[:_NAMED]))
    if (rest := len(clients) - _NAMED) > 0:
        return f"clients {told} and {rest} other{'s' * (rest > 1)}"
    return f"clients {told}"
