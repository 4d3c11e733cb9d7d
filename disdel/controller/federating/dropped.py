"""What a user is told of clients whose updates do not count."""

from __future__ import annotations

from collections.abc import Mapping

# Of those that have not answered, in a message; the report has them all.
_NAMED = 5


class DropNotes:
    """Notes of clients that are left out, each of them the first time."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def of_round(self, number: int, dropped: Mapping[int, str]) -> list[str]:
        """What is to be said of a round, a sentence by client, and one of those beyond a few."""
        new = sorted(dropped.keys() - self._told)
        self._told |= dropped.keys()
        notes = [
            f"client {client} is left out of round {number}: {dropped[client]}"
            for client in new[:_NAMED]
        ]
        if (rest := len(new) - _NAMED) > 0:
            are = "more clients are" if rest > 1 else "more client is"
            notes.append(
                f"{rest} {are} left out of round {number}: the report says why "
                "(rounds[].clients.dropped)"
            )
        return notes


def causes_told(dropped: Mapping[int, str], named: int = _NAMED) -> str:
    """Why clients have not answered, of the first few of them."""
    told = [f"client {client}: {why}" for client, why in sorted(dropped.items())[:named]]
    if (rest := len(dropped) - named) > 0:
        told.append(f"and {rest} other{'s' * (rest > 1)}")
    return "; ".join(told)
