"""The endpoints that a file names, opened together, and what is planned with of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import ConnectionRefused, DisdelError, UsageError
from disdel.platforms import registry
from disdel.platforms.base import Opened, Platform, Provider, Reach, Traits
from disdel.platforms.endpoints import Endpoint, Endpoints, Homes
from disdel.platforms.fabric.binding import homes_of
from disdel.platforms.fabric.client import Fabric, Member, together, too_few
from disdel.platforms.fabric.file import FabricFile, read_fabric
from disdel.platforms.fabric.named import Named, bound_provider, named_in, naming, why_away
from disdel.platforms.fabric.wording import in_file_words
from disdel.platforms.options import refuse_limits
from disdel.settings import Settings, declared
from disdel.types import Capacity


class FabricProvider(Provider):
    """What `--fabric FILE` names; before a file is known, it leads nowhere."""

    name = "fabric"
    traits = Traits()

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def parts(self, settings: Settings) -> tuple[tuple[str, Provider], ...]:
        if self._only is not None:
            return ()
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
        file = _file(settings)
        providers = [bound_provider(entry, file.path, settings) for entry in file.endpoints]
        alike = all(one.traits.host_packages for one in providers)
        bound.traits = Traits(  # type: ignore[misc]
            host_packages=alike,
            runs_images=all(one.traits.runs_images for one in providers),
            has_packages=all(one.traits.has_packages for one in providers),
            proxy_mb=max(one.traits.proxy_mb for one in providers),
        )
        return bound

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        file = _file(settings)
        async with AsyncExitStack() as stack:
            members, endpoints, lasting = [], [], False
            for named in named_in(file, settings, self._only):
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
        named = named_in(_file(settings), settings, self._only)
        told = []
        for one in named:
            with naming(one.entry, one.source):
                told.append(await one.provider.deploy(one.settings, code))
        return "; ".join(dict.fromkeys(told))

    async def offered(self, settings: Settings) -> Capacity:
        return (await self.endpoints(settings)).capacity

    async def endpoints(self, settings: Settings) -> Endpoints:
        file = _file(settings)
        named = named_in(file, settings, self._only)
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
        for named in named_in(_file(settings), settings, self._only):
            with naming(named.entry, named.source):
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
        for named in named_in(_file(settings), settings):
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


async def _opened(
    named: Named, stack: AsyncExitStack, tell: Tell
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
        away = why_away(named.entry, named.source, error)
        return Member(name, platform, None, store=store, away=away), None, False
    endpoint = named.endpoint(told)
    member = Member(name, opened.platform, endpoint.capacity, size_mb=endpoint.size_mb, store=store)
    return member, endpoint, opened.address is not None


async def _offered(named: Named) -> tuple[Member, Capacity | None]:
    """An endpoint that is only asked, and what it would allow."""
    name = named.entry.name
    try:
        told = await named.provider.offered(named.settings)
    except DisdelError as error:
        away = why_away(named.entry, named.source, error)
        return Member(name, None, None, away=away), None
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


PROVIDER = FabricProvider()
