"""Where messages can be worked on: one platform, or the endpoints of several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from disdel.controller.invoking.berths import Berth
from disdel.controller.invoking.journal import endpoint_report
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.session import Session
from disdel.errors import UsageError
from disdel.flower.room import Room
from disdel.flower.sizing import Sizes
from disdel.platforms.endpoints import Endpoint, Homes
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import BASE_IMAGE
from disdel.settings import Settings
from disdel.types import Activation, Capacity
from disdel.types.flower import FlowerJob
from disdel.types.report import EndpointReport


@dataclass(slots=True, eq=False)
class Place:
    """One of them.

    Attributes:
        sizes: of its containers.
        containers: how many there may be at the same time.
        room: for them.
        cpus: of all of them together; None where nobody says.
        image: of a container.
        endpoint: what it is, of a platform that is several.
        busy: messages that are there.
    """

    sizes: Sizes
    containers: int
    room: Room
    cpus: int | None
    image: str
    endpoint: Endpoint | None = None
    busy: int = 0

    @property
    def name(self) -> str | None:
        return None if self.endpoint is None else self.endpoint.name

    @property
    def threads(self) -> int | None:
        """Of a container's libraries; None leaves it to them."""
        return None if self.cpus is None else max(1, self.cpus // self.containers)

    @property
    def berth(self) -> Berth | None:
        """Where an action is to be, and with which limits there; None where there is no choice."""
        if self.endpoint is None:
            return None
        return Berth(
            planned=Attempt(memory_mb=self.sizes.least_mb),
            memory_max_mb=self.sizes.most_mb,
            pool_mb=self.sizes.pool_mb,
            endpoint=self.endpoint.name,
            timeout_s=self.sizes.timeout_s,
            timeout_max_s=self.sizes.timeout_s,
            size_mb=self.endpoint.size_mb,
        )

    def report(self, activations: Sequence[Activation]) -> EndpointReport | None:
        """What it has done of these; None where there is no choice of places."""
        if self.endpoint is None:
            return None
        price = self.endpoint.price
        return endpoint_report(
            self.endpoint.name,
            self.endpoint.platform,
            activations,
            None if price is None else price.usd,
        )


@dataclass(frozen=True, slots=True)
class Places:
    """All of them, and which nodes belong where.

    Attributes:
        all: in the order in which they were named.
        homes: of the nodes, by partition; None where none belongs anywhere.
        by_price: whether nodes that belong nowhere go where it is cheapest, and not where fewest
            wait.
        answers: whether an endpoint does.
    """

    all: tuple[Place, ...]
    homes: Homes | None = None
    by_price: bool = False
    answers: Callable[[str], bool] = lambda _: True

    @property
    def containers(self) -> int:
        return sum(place.containers for place in self.all)

    def place_of(self, partition: int, without: Collection[str | None] = ()) -> Place | None:
        """Where a node's message goes now; None where all of its places are away.

        Args:
            partition: the node's number.
            without: where it was tried already.
        """
        there = [
            place
            for place in self.all
            if place.name not in without and (place.name is None or self.answers(place.name))
        ]
        own = None if self.homes is None else self.homes.of(partition)
        if own is not None:
            at_home = [place for place in there if place.name in own]
            there = at_home or (there if self.homes and self.homes.may_move(partition) else [])
        return min(there, key=self._cost, default=None)

    def _cost(self, place: Place) -> tuple[float, float]:
        price = None if place.endpoint is None else place.endpoint.price
        per_gb_s = price.per_gb_s if price is not None else float("inf")
        return (per_gb_s if self.by_price else 0.0, place.busy / place.containers)

    def states(self) -> str:
        """Each of them, and whether it answers."""
        return ", ".join(
            f"{place.name} {'answers' if self.answers(place.name) else 'does not answer'}"
            for place in self.all
            if place.name is not None
        )


def places_of(session: Session, settings: Settings, job: FlowerJob, nodes: int) -> Places:
    """The places of a session.

    Args:
        session: its platform may be several.
        settings: what the user allows.
        job: how many containers are wanted, and of which image.
        nodes: how many there are.

    Raises:
        UsageError: containers somewhere do not have this machine's packages, and no image is named;
            or a file binds nodes that there are not.
        InsufficientMemory: the user allows less than a platform's smallest container.
    """
    several = session.endpoints
    if several is None:
        on_host = chosen(settings).traits.host_packages
        image = _image(job, settings, on_host, session.description)
        return Places((_place(session.capacity, settings, job, nodes, image),))
    made: list[Place] = []
    for one in several.all:
        image = _image(job, settings, one.host_packages, f"endpoint {one.name}")
        first = sum(place.containers for place in made)
        made.append(_place(one.capacity, one.settings, job, nodes, image, one, first))
    return Places(
        tuple(made),
        homes=several.homes(nodes, False) if several.binds else None,
        by_price=several.place == "price",
        answers=session.platform.answers,
    )


def _place(
    capacity: Capacity,
    settings: Settings,
    job: FlowerJob,
    nodes: int,
    image: str,
    endpoint: Endpoint | None = None,
    first: int = 0,
) -> Place:
    sizes = Sizes.of(capacity, settings.limits)
    most = [capacity.concurrency, nodes]
    if endpoint is not None and endpoint.most_containers is not None:
        most.append(endpoint.most_containers)
    if job.containers is not None:
        most.append(job.containers)
    elif capacity.cpus is not None:
        most.append(capacity.cpus)
    containers = max(1, min(most))
    return Place(
        sizes, containers, Room(containers, sizes.pool_mb, first), capacity.cpus, image, endpoint
    )


def _image(job: FlowerJob, settings: Settings, on_host: bool, where: str) -> str:
    """The image of a ClientApp's container.

    Raises:
        UsageError: containers do not have this machine's packages, and no image is named.
    """
    if on_host:
        return settings.image(BASE_IMAGE)
    if job.image is not None:
        return job.image
    raise UsageError(
        f"containers at {where} do not have the packages of this machine, and disdel's images have "
        "no Flower: name one with flwr and the app's packages with --image (docs/flower.md shows "
        "how to make it)"
    )
