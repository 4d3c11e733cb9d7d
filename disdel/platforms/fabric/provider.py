"""The endpoints that a file names, opened together, and what is planned with of each."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from disdel.connections.masking import masked
from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import ConnectionRefused, DisdelError, UsageError
from disdel.platforms import registry
from disdel.platforms.base import (
    Endpoint,
    Endpoints,
    Homes,
    Opened,
    Platform,
    Provider,
    Reach,
    Traits,
)
from disdel.platforms.fabric.binding import homes_of
from disdel.platforms.fabric.client import Fabric, Member, reached_at, together, too_few
from disdel.platforms.fabric.file import EndpointEntry, FabricFile, read_fabric
from disdel.platforms.fabric.paths import store_address
from disdel.platforms.fabric.wording import in_file_words, names_in_file
from disdel.platforms.options import refuse_limits, said_options
from disdel.platforms.prices import PUBLISHED, Price, price_given
from disdel.settings import Settings, declared
from disdel.types import Capacity


@dataclass(frozen=True, slots=True)
class _Named:
    """An endpoint of the file: its platform, the settings that lead there, its own addresses."""

    entry: EndpointEntry
    provider: Provider
    settings: Settings
    store: str | None
    signing_secret: bytes | None = field(repr=False)

    def capacity(self, told: Capacity) -> Capacity:
        """What it allows: as its platform tells, and no more than the file says."""
        said = self.entry.options
        sizes = said.sizes_mb
        memory_mb, memory = _tightest(
            told.memory_max_mb, memory_max=said.memory_max_mb, sizes=max(sizes, default=None)
        )
        pool_mb, pool = _tightest(
            math.inf if told.pool_memory_mb is None else told.pool_memory_mb,
            pool_memory=said.pool_memory_mb,
        )
        timeout_s, time = _tightest(told.timeout_max_s, time_limit=said.time_limit_s)
        kinds = told.kinds
        if not kinds and self.provider.traits.host_packages:
            # Whatever kind is asked for, this Python runs it.
            kinds = (f"python:{sys.version_info.major}.{sys.version_info.minor}",)
        return replace(
            told,
            memory_max_mb=int(memory_mb),
            memory_min_mb=max(told.memory_min_mb, *sizes[:1]) if sizes else told.memory_min_mb,
            timeout_max_s=timeout_s,
            concurrency=min(said.containers or told.concurrency, told.concurrency),
            pool_memory_mb=None if math.isinf(pool_mb) else int(pool_mb),
            cpus=said.cpus or told.cpus,
            kinds=kinds,
            payload_bytes=min(said.payload_bytes or told.payload_bytes, told.payload_bytes),
            names=names_in_file(told.names, memory=memory, pool=pool, time=time),
        )

    @property
    def price(self) -> Price | None:
        said = self.entry.options
        if said.price_gb_s is not None or said.price_invocation is not None:
            return price_given(per_gb_s=said.price_gb_s, per_invocation=said.price_invocation)
        # Prices of comparable places are none of this one.
        own = self.provider.prices
        return None if own is PUBLISHED or not own else own[0]

    def endpoint(self, told: Capacity) -> Endpoint:
        return Endpoint(
            name=self.entry.name,
            platform=self.provider.name,
            settings=self.settings,
            capacity=self.capacity(told),
            host_packages=self.provider.traits.host_packages,
            most_containers=self.entry.options.containers,
            sizes_mb=self.entry.options.sizes_mb,
            price=self.price,
            store_url=str if self.store is None else partial(reached_at, self.store),
            signing_secret=self.signing_secret,
        )


class FabricProvider(Provider):
    """What `--fabric FILE` names; before a file is known, it leads nowhere."""

    name = "fabric"
    traits = Traits()

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def parts(self, settings: Settings) -> tuple[tuple[str, Provider], ...]:
        names = (entry.name for entry in _file(settings).endpoints)
        return tuple((name, FabricProvider(name)) for name in names)

    def of(self, settings: Settings) -> Provider:
        refuse_limits(settings, "each endpoint of a fabric", "limits in the file, of an endpoint")
        if settings.platform_options:
            raise UsageError(
                f"--platform-option {settings.platform_options[0]} is of one platform, and "
                "--fabric names several: say it in the file, under its endpoint"
            )
        bound = FabricProvider()
        providers = [_provider(entry) for entry in _file(settings).endpoints]
        alike = all(one.traits.host_packages for one in providers)
        bound.traits = Traits(  # type: ignore[misc]
            host_packages=alike,
            runs_images=all(one.traits.runs_images for one in providers),
            proxy_mb=max(one.traits.proxy_mb for one in providers),
        )
        return bound

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        file = _file(settings)
        async with AsyncExitStack() as stack:
            members, endpoints, lasting = [], [], False
            for named in _named(file, settings, self._only):
                member, endpoint, lasts = await _opened(named, stack, tell)
                members.append(member)
                endpoints += [] if endpoint is None else [endpoint]
                lasting = lasting or lasts
            _check_quorum(file, members)
            for member in members:
                if member.away is not None:
                    tell(f"endpoint {member.state}; the run goes on without it")
            least = min(file.options.quorum or 1, len(members))
            platform = Fabric(members, quorum=least, tell=tell)
            stack.push_async_callback(platform.close)
            names = ", ".join(f"{one.name} ({one.platform})" for one in endpoints)
            yield Opened(
                platform=platform,
                description=f"the fabric of {file.path.name}: {names}",
                address=str(file.path) if lasting else None,
                endpoints=_together(file, endpoints, settings),
            )

    async def deploy(self, settings: Settings, code: bytes) -> str:
        named = _named(_file(settings), settings, self._only)
        told = []
        for one in named:
            with _naming(one.entry, settings):
                told.append(await one.provider.deploy(one.settings, code))
        return "; ".join(dict.fromkeys(told))

    async def offered(self, settings: Settings) -> Capacity:
        return (await self.endpoints(settings)).capacity

    async def endpoints(self, settings: Settings) -> Endpoints:
        file = _file(settings)
        named = _named(file, settings, self._only)
        told = await asyncio.gather(*map(_offered, named))
        made = [
            one.endpoint(capacity)
            for one, (_, capacity) in zip(named, told, strict=True)
            if capacity is not None
        ]
        _check_quorum(file, [member for member, _ in told])
        return _together(file, made, settings)

    def address(self, settings: Settings) -> str | None:
        return str(_file(settings).path)

    async def reach(self, settings: Settings) -> Reach:
        found: set[Reach] = set()
        for named in _named(_file(settings), settings, self._only):
            with _naming(named.entry, settings):
                if named.store is not None:
                    raise UsageError(
                        "its store is another address of the run's store, which is a private one "
                        "on this machine: name the run's with --redis URL, or leave store out"
                    )
                found.add(await named.provider.reach(named.settings))
        return next(one for one in ("nowhere", "bridge", "loopback") if one in found)

    def find(
        self,
        address: str,
        settings: Settings,
        *,
        insecure: bool,  # noqa: ARG002 - the file says so of each
    ) -> Platform | None:
        settings = replace(settings, fabric=Path(address), platform=None)
        members = []
        for named in _named(_file(settings), settings):
            at = named.provider.address(named.settings) or ""
            found = named.provider.find(at, named.settings, insecure=named.settings.insecure)
            if found is not None:
                members.append(Member(named.entry.name, found, None))
        return Fabric(members) if members else None


def _file(settings: Settings) -> FabricFile:
    if settings.fabric is None:
        raise UsageError("a fabric is named by its file: --fabric FILE.toml")
    own = {
        name: () if (cls := registry.provider_of(name).options) is None else declared(cls)
        for name in registry.names()
        if name != FabricProvider.name
    }
    return read_fabric(settings.fabric, own)


def _provider(entry: EndpointEntry) -> Provider:
    return registry.provider_of(entry.options.platform)


def _named(file: FabricFile, settings: Settings, only: str | None = None) -> list[_Named]:
    """The endpoints of a file, or the only one of a name, with the settings that lead to each.

    Raises:
        UsageError: they do not, or a key is not where the file says that it is.
    """
    found = []
    for entry in file.endpoints:
        if only not in (None, entry.name):
            continue
        said, provider = entry.options, _provider(entry)
        limits = settings.limits
        base = replace(
            settings,
            fabric=None,
            place=None,
            platform=provider.name,
            platform_options=entry.own,
            platform_limits=None,
            insecure=said.insecure,
            arch=said.arch or settings.arch,
            limits=replace(
                limits,
                timeout_max_s=_least(limits.timeout_max_s, said.time_limit_s),
            ),
        )
        with _naming(entry, settings):
            if said.store is not None and not _is_redis(settings.store_address):
                raise UsageError(
                    "its store is an address of the run's Redis, and the run's store "
                    f"({masked(settings.store_address or '')}) is none: leave one of the two out"
                )
            own = provider.at(base, address=said.address, key=entry.key(file.path))
            said_options(provider.name, provider.options, own)
            secret = entry.signing_secret(file.path)
            store = None if said.store is None else store_address(said.store, file.path)
        found.append(_Named(entry, provider, own, store, secret))
    return found


def _is_redis(store: str | None) -> bool:
    """Whether a run's store is a Redis, as is the private one of those that name none."""
    return store is None or store.partition(":")[0].lower() in ("redis", "rediss", "unix")


@contextmanager
def _naming(entry: EndpointEntry, settings: Settings) -> Iterator[None]:
    """What is wrong with what a file says of an endpoint is told with the endpoint."""
    try:
        yield
    except DisdelError as error:
        error.reworded(f"endpoint {entry.name} in {settings.fabric}: {in_file_words(str(error))}")
        raise


async def _opened(
    named: _Named, stack: AsyncExitStack, tell: Tell
) -> tuple[Member, Endpoint | None, bool]:
    """An endpoint that is open until the stack ends; and whether it outlives the session."""
    name, store = named.entry.name, named.store

    def named_tell(sentence: str) -> None:
        tell(f"endpoint {name}: {in_file_words(sentence)}")

    opened = None
    try:
        opened = await stack.enter_async_context(named.provider.open(named.settings, named_tell))
        told = await opened.platform.capacity()
    except DisdelError as error:
        platform = None if opened is None else opened.platform
        away = in_file_words(str(error))
        return Member(name, platform, None, store=store, away=away), None, False
    endpoint = named.endpoint(told)
    member = Member(name, opened.platform, endpoint.capacity, size_mb=endpoint.size_mb, store=store)
    return member, endpoint, opened.address is not None


async def _offered(named: _Named) -> tuple[Member, Capacity | None]:
    """An endpoint that is only asked, and what it would allow."""
    name = named.entry.name
    try:
        told = await named.provider.offered(named.settings)
    except DisdelError as error:
        return Member(name, None, None, away=in_file_words(str(error))), None
    return Member(name, None, told), told


def _check_quorum(file: FabricFile, members: Sequence[Member]) -> None:
    """Refuse to begin where fewer endpoints answer than must.

    Raises:
        ConnectionRefused: they do.
    """
    there = sum(member.away is None for member in members)
    quorum = min(file.options.quorum or len(members), len(members))
    if there < quorum:
        raise ConnectionRefused(too_few(members, there, quorum))


def _together(file: FabricFile, endpoints: Iterable[Endpoint], settings: Settings) -> Endpoints:
    found = tuple(endpoints)
    wanted = file.options.collect
    collect = sorted((one.name for one in found), key=lambda name: name != wanted)

    def homes(clients: int, own_data: bool) -> Homes:
        return homes_of(file.bindings, clients, own_data=own_data)

    return Endpoints(
        all=found,
        capacity=together([one.capacity for one in found]),
        place=settings.place or file.options.place,
        collect=tuple(collect),
        binds=bool(file.bindings),
        homes=homes,
    )


def _least(one: float | None, other: float | None) -> float | None:
    both = [value for value in (one, other) if value is not None]
    return min(both, default=None)


def _tightest(told: float, **said: float | None) -> tuple[float, str]:
    """The least of what a platform allows and a file says, and the key that says it, if any."""
    tighter = {key: value for key, value in said.items() if value is not None and value < told}
    key = min(tighter, key=tighter.__getitem__, default="")
    return tighter.get(key, told), key


PROVIDER = FabricProvider()
