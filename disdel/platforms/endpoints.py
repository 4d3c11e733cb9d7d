"""What a platform that is several is made of: its endpoints, and who belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from disdel.platforms.prices import Price
from disdel.settings import Settings
from disdel.types import Capacity

# What clients that belong to no endpoint are dealt out for.
PlaceBy = Literal["time", "price"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A platform that another is made of, and what is planned with.

    Attributes:
        name: of it, among its like.
        platform: the name of its platform.
        settings: lead to it, and have what its user allows.
        capacity: what it allows.
        host_packages: as `Traits` has it.
        most_containers: that it may hold at the same time; None for what it allows.
        sizes_mb: the memory limits that its actions can have; empty for any.
        price: what it takes; None where nobody has said.
        store_url: the address by which its containers reach a store.
        signing_secret: that it shares with the controller; None for that of all.
    """

    name: str
    platform: str
    settings: Settings
    capacity: Capacity
    host_packages: bool = False
    most_containers: int | None = None
    sizes_mb: tuple[int, ...] = ()
    price: Price | None = None
    store_url: Callable[[str], str] = str
    signing_secret: bytes | None = field(default=None, repr=False)

    def size_mb(self, memory_mb: int) -> int:
        """The smallest of its sizes that holds so many MB; its largest where none does."""
        if not self.sizes_mb:
            return memory_mb
        return next((size for size in self.sizes_mb if size >= memory_mb), self.sizes_mb[-1])


class Homes(Protocol):
    """The endpoints that each client of a federation belongs to."""

    def of(self, client: int) -> frozenset[str] | None:
        """Their names; None where it may train anywhere."""

    def may_move(self, client: int) -> bool:
        """Whether it trains elsewhere while none of them answers."""

    def counts(self) -> Sequence[tuple[frozenset[str], int]]:
        """How many clients belong to the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What a platform that is several is made of.

    Attributes:
        all: in the order in which they were named.
        capacity: what all of them allow together.
        place: what clients that belong nowhere are dealt out for.
        collect: the endpoints in the order in which they are to make averages.
        binds: whether some clients belong to some of them.
        homes: of so many clients; whether they have data of their own is said, too.
    """

    all: tuple[Endpoint, ...]
    capacity: Capacity
    place: PlaceBy
    collect: tuple[str, ...]
    binds: bool
    homes: Callable[[int, bool], Homes] = field(repr=False)

    def named(self, name: str) -> Endpoint:
        return next(endpoint for endpoint in self.all if endpoint.name == name)
