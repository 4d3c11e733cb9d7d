"""The platform that several are: an action is at one of them, and what is asked of it goes there.

An endpoint that does not answer is away until it does: what is asked of it meanwhile is refused at
once, and somebody looks every few seconds. What it had, it is given again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import (
    ConnectionRefused,
    DisdelError,
    EndpointLost,
    PlatformError,
    PlatformLost,
    PlatformRejected,
)
from disdel.platforms.base import ActionSpec, LookUp, Platform, nowhere
from disdel.platforms.fabric.wording import in_file_words
from disdel.types import ActivationRecord, Capacity, LimitNames

T = TypeVar("T")

_NOT_FOUND = 404
# What an endpoint that is away is looked at after, and at most.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 1.0, 15.0
_LOOK_PATIENCE_S = 10.0
# The parameter of a package that has the store's address.
_STORE = "store"
# What a platform that does not tell its CPUs is taken to have.
_ASSUMED_CPUS = 4


@dataclass(slots=True, eq=False)
class Member:
    """An endpoint of a fabric.

    Attributes:
        name: of it.
        platform: its client; None where it could not be opened.
        capacity: what it allows; None where it has never answered.
        size_mb: the memory limit of an action there that wants so many MB.
        store: how its containers reach the store, where that is another address.
        away: why it does not answer; None while it does.
    """

    name: str
    platform: Platform | None
    capacity: Capacity | None
    size_mb: Callable[[int], int] = int
    store: str | None = None
    away: str | None = None
    # What it has been given; emptied where it may have lost that.
    packages: set[str] = field(default_factory=set)
    actions: set[tuple[str, str]] = field(default_factory=set)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)

    def package(self, package: str) -> str:
        """The name of a package there: two endpoints may be in one account or namespace."""
        return f"{package}.{self.name}"

    @property
    def state(self) -> str:
        """In words."""
        return f"{self.name}: {'answers' if self.away is None else self.away}"


class Fabric(Platform):
    """Several platforms as one.

    Args:
        members: the endpoints, the one for what names none first.
        quorum: how many of them must answer.
        tell: told of those that do not, and do again.
    """

    def __init__(
        self, members: Sequence[Member], *, quorum: int = 1, tell: Tell = tell_nobody
    ) -> None:
        self._members = {member.name: member for member in members}
        there = [member.platform for member in members if member.platform is not None]
        self.keeps_records = all(one.keeps_records for one in there)  # type: ignore[misc]
        self._quorum = quorum
        self._tell = tell
        self._packages: dict[str, Mapping[str, object]] = {}
        self._actions: dict[tuple[str, str], tuple[Member, ActionSpec]] = {}
        self._ran: dict[str, Member] = {}
        self._looking: set[asyncio.Task[None]] = set()
        for member in members:
            if member.away is not None and member.platform is not None and member.capacity:
                self._look_for(member)

    async def capacity(self) -> Capacity:
        return together([one.capacity for one in self._members.values() if one.capacity])

    def answers(self, endpoint: str) -> bool:
        return self._members[endpoint].away is None

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        self._packages[package] = dict(parameters)
        for member in self._members.values():
            member.packages.discard(package)
            member.actions -= {key for key in member.actions if key[0] == package}
        made = [self._with_package(one, package) for one in self._members.values() if not one.away]
        for ended in await asyncio.gather(*made, return_exceptions=True):
            # Whoever does not answer now may later, and is given it then.
            if isinstance(ended, BaseException) and not isinstance(ended, EndpointLost):
                raise ended

    async def create_action(self, package: str, action: ActionSpec) -> None:
        member = self._member(action.endpoint)
        spec = replace(
            action,
            name=action.name.replace(f"@{member.name}", "", 1),
            memory_mb=member.size_mb(action.memory_mb),
            endpoint=None,
        )
        self._actions[package, action.name] = (member, spec)
        member.actions.discard((package, spec.name))
        # One that does not answer, or refuses, is given it again when something is asked of it.
        with contextlib.suppress(EndpointLost, PlatformRejected):
            await self._with_action(member, package, spec)

    async def invoke(
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        timeout_s: float = 60.0,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        member, spec = self._action(package, action)

        async def sent() -> ActivationRecord:
            await self._with_action(member, package, spec)
            return await self._asked(
                member,
                lambda platform: platform.invoke(
                    member.package(package),
                    spec.name,
                    arguments,
                    timeout_s=timeout_s,
                    begun=begun,
                ),
            )

        try:
            record = await sent()
        except PlatformRejected as rejected:
            if rejected.status != _NOT_FOUND:
                raise
            # It has lost what it had; with that it does what it was asked to.
            member.packages.discard(package)
            member.actions -= {key for key in member.actions if key[0] == package}
            self._tell(f"endpoint {member.name} had lost {package}; it is made again there")
            record = await sent()
        self._ran[record.id] = member
        return record

    async def record(
        self,
        package: str,
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        member, spec = self._action(package, action)
        record = await self._asked(
            member,
            lambda platform: platform.record(
                member.package(package),
                spec.name,
                activation_id,
                timeout_s=timeout_s,
                begun=begun,
            ),
        )
        self._ran[record.id] = member
        return record

    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:
        member = self._ran.get(activation_id)
        if member is None:
            raise PlatformError(f"no endpoint has told of activation {activation_id}")
        return await self._asked(
            member, lambda platform: platform.logs(activation_id, within_s=within_s)
        )

    async def remove_package(self, package: str) -> None:
        self._packages.pop(package, None)
        self._actions = {key: one for key, one in self._actions.items() if key[0] != package}
        members = [one for one in self._members.values() if one.platform is not None]
        ended = await asyncio.gather(
            *(one.platform.remove_package(one.package(package)) for one in members if one.platform),
            return_exceptions=True,
        )
        left = []
        for member, error in zip(members, ended, strict=True):
            if isinstance(error, DisdelError):
                left.append(f"endpoint {member.name}: {error}")
            elif isinstance(error, BaseException):
                raise error
            else:
                member.packages.discard(package)
        if left:
            raise PlatformLost("; ".join(left))

    def hurry(self) -> None:
        for member in self._members.values():
            if member.platform is not None:
                member.platform.hurry()

    async def close(self) -> None:
        """Look for nobody any more; who has opened the endpoints closes them."""
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    def _member(self, endpoint: str | None) -> Member:
        """The endpoint of that name; the first that answers, where none is named."""
        if endpoint is not None:
            return self._members[endpoint]
        members = self._members.values()
        return next((one for one in members if one.away is None), next(iter(members)))

    def _action(self, package: str, action: str) -> tuple[Member, ActionSpec]:
        found = self._actions.get((package, action))
        if found is None:
            raise PlatformRejected(f"there is no {package}/{action}", status=_NOT_FOUND)
        return found

    async def _with_package(self, member: Member, package: str) -> None:
        """See to it that an endpoint has a package."""
        async with member.making:
            await self._make_package(member, package)

    async def _make_package(self, member: Member, package: str) -> None:
        if package in member.packages or package not in self._packages:
            return
        parameters = dict(self._packages[package])
        if member.store is not None and isinstance(url := parameters.get(_STORE), str):
            parameters[_STORE] = reached_at(member.store, url)
        name = member.package(package)
        await self._asked(member, lambda platform: platform.create_package(name, parameters))
        member.packages.add(package)

    async def _with_action(self, member: Member, package: str, spec: ActionSpec) -> None:
        """See to it that an endpoint has an action."""
        if (package, spec.name) in member.actions:
            return
        async with member.making:
            await self._make_package(member, package)
            if (package, spec.name) in member.actions:
                return
            name = member.package(package)
            await self._asked(member, lambda platform: platform.create_action(name, spec))
            member.actions.add((package, spec.name))

    async def _asked(self, member: Member, ask: Callable[[Platform], Awaitable[T]]) -> T:
        """What an endpoint answers.

        Raises:
            PlatformRejected: it refuses.
            EndpointLost: it does not answer.
            PlatformLost: too few do.
        """
        if member.away is not None or member.platform is None:
            raise self._lost(member)
        try:
            return await ask(member.platform)
        except PlatformRejected as rejected:
            rejected.reworded(f"endpoint {member.name}: {in_file_words(str(rejected))}")
            raise
        except (PlatformLost, ConnectionRefused) as error:
            if member.away is None:
                member.away = in_file_words(str(error))
                member.packages.clear()
                member.actions.clear()
                self._tell(f"endpoint {member.name} does not answer any more: {member.away}")
                self._look_for(member)
            raise self._lost(member) from error

    def _lost(self, member: Member) -> PlatformLost:
        there = sum(one.away is None for one in self._members.values())
        if there < self._quorum:
            return PlatformLost(too_few(self._members.values(), there, self._quorum))
        return EndpointLost(
            f"endpoint {member.name} does not answer: {member.away}", endpoint=member.name
        )

    def _look_for(self, member: Member) -> None:
        task = asyncio.get_running_loop().create_task(self._until_there(member))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _until_there(self, member: Member) -> None:
        pause_s = _FIRST_LOOK_S
        while member.platform is not None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
            with contextlib.suppress(DisdelError, TimeoutError):
                await asyncio.wait_for(member.platform.capacity(), _LOOK_PATIENCE_S)
                member.away = None
                self._tell(f"endpoint {member.name} answers again")
                return


def too_few(members: Iterable[Member], there: int, quorum: int) -> str:
    """That too few endpoints answer, with what each of them does."""
    states = "".join(f"\n  {member.state}" for member in members)
    return (
        f"{there} endpoint{'s' * (there != 1)} of the fabric answer{'s' * (there == 1)}, and "
        f"{quorum} must (quorum in the fabric file):{states}"
    )


def reached_at(address: str, url: str) -> str:
    """A store's URL, with user and password, at the address where an endpoint reaches it."""
    parts, there = urlsplit(url), urlsplit(address)
    user = parts.netloc.rpartition("@")[0]
    netloc = f"{user}@{there.netloc}" if user else there.netloc
    return urlunsplit(
        (there.scheme, netloc, there.path or parts.path, there.query or parts.query, "")
    )


def together(capacities: Sequence[Capacity]) -> Capacity:
    """What several platforms allow as one; of one action, what the roomiest allows."""
    pools = [one.pool_memory_mb for one in capacities]
    gpus = [one.gpu_memory_mb for one in capacities]
    kinds = set.intersection(*(set(one.kinds) for one in capacities))
    return Capacity(
        memory_min_mb=max(one.memory_min_mb for one in capacities),
        memory_max_mb=max(one.memory_max_mb for one in capacities),
        timeout_max_s=max(one.timeout_max_s for one in capacities),
        concurrency=sum(one.concurrency for one in capacities),
        invokes_per_minute=sum(one.invokes_per_minute for one in capacities),
        pool_memory_mb=None if None in pools else sum(pool for pool in pools if pool),
        cpus=sum(one.cpus or _ASSUMED_CPUS for one in capacities),
        gpu_memory_mb=None if None in gpus else min(gpu for gpu in gpus if gpu is not None),
        kinds=tuple(sorted(kinds)),
        settle_s=max(one.settle_s for one in capacities),
        on_loopback=all(one.on_loopback for one in capacities),
        payload_bytes=min(one.payload_bytes for one in capacities),
        code_bytes=min(one.code_bytes for one in capacities),
        own_code_bytes=min(one.own_code_bytes for one in capacities),
        timeout_ordinary_s=min(one.timeout_ordinary_s for one in capacities),
        names=LimitNames(
            memory="memory_max of an endpoint, in the fabric file",
            pool="pool_memory or containers of an endpoint, in the fabric file",
            timeout="time_limit of an endpoint, in the fabric file",
        ),
    )
