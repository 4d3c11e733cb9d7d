"""Clients whose code ends its container, round after round, and are not asked for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from disdel.types import DroppedClient

# So many rounds running may a client end its container, and then rests for so many.
_MOST_ENDS, _REST_ROUNDS = 3, 10


@dataclass(slots=True)
class Rests:
    """Who rests, which follows from the reports of rounds alone, and so is the same after a resume.

    One that was lost with its machine is trained again elsewhere, and is none of them: its
    container must have ended at every try of a round, while nobody else trained there.

    Attributes:
        enabled: whether anybody may rest.
    """

    enabled: bool = True
    # By client: rounds running, and the first round in which it is asked again.
    _ends: dict[int, int] = field(default_factory=dict)
    _until: dict[int, int] = field(default_factory=dict)
    _begun: list[str] = field(default_factory=list)

    def follow(
        self, number: int, answered: Sequence[int], dropped: Sequence[DroppedClient]
    ) -> None:
        """Know what came of round `number`."""
        for client in answered:
            self._ends.pop(client, None)
            self._until.pop(client, None)
        for one in dropped:
            if not one.ended_container:
                continue
            ends = self._ends[one.client] = self._ends.get(one.client, 0) + 1
            if self.enabled and ends >= _MOST_ENDS:
                self._until[one.client] = again = number + _REST_ROUNDS + 1
                self._begun.append(
                    f"client {one.client} has ended its container in each of the {ends} rounds in "
                    f"which it was last asked, and is not asked before round {again}: {one.why}"
                )

    def at(self, number: int) -> list[int]:
        """Who rests in a round, ascending."""
        return sorted(client for client, until in self._until.items() if number < until)

    def is_suspect(self, client: int) -> bool:
        """Whether a client ended its container when it was last asked."""
        return client in self._ends

    def begun(self) -> list[str]:
        """What is to be said of rests that nobody has heard of."""
        told, self._begun = self._begun, []
        return told
