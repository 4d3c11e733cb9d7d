"""The endpoints of a fabric file, each with the settings that lead to its platform."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from disdel.connections.masking import masked
from disdel.errors import ConnectionRefused, DisdelError, UsageError
from disdel.platforms import registry
from disdel.platforms.base import Provider
from disdel.platforms.endpoints import Endpoint
from disdel.platforms.fabric.client import reached_at
from disdel.platforms.fabric.file import EndpointEntry, FabricFile
from disdel.platforms.fabric.keys import EndpointOptions
from disdel.platforms.fabric.paths import store_address
from disdel.platforms.fabric.wording import in_file_words, names_in_file
from disdel.platforms.options import said_options
from disdel.platforms.prices import Price, price_given
from disdel.settings import Settings
from disdel.settings.settings import own_architecture
from disdel.types import Capacity


@dataclass(frozen=True, slots=True)
class Named:
    """An endpoint of the file: its platform, the settings that lead there, its own addresses."""

    entry: EndpointEntry
    source: Path
    provider: Provider
    settings: Settings
    store: str | None
    signing_secret: bytes | None = field(repr=False)

    def capacity(self, told: Capacity) -> Capacity:
        """What it allows: as its platform tells, and no more than the file says.

        Raises:
            UsageError: it allows none of the sizes that the file says.
        """
        said, sizes = self.entry.options, self.sizes_mb(told)
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

    def sizes_mb(self, told: Capacity) -> tuple[int, ...]:
        """The sizes that an action can have there, of those in the file; empty for any.

        Raises:
            UsageError: none of them is allowed.
        """
        said = self.entry.options
        least, most = told.memory_min_mb, min(said.memory_max_mb or math.inf, told.memory_max_mb)
        sizes = tuple(size for size in said.sizes_mb if least <= size <= most)
        if most < least or (said.sizes and not sizes):
            key, none = "memory_max", ""
            if said.sizes:
                key, none = "sizes", f", and none of {', '.join(map(str, said.sizes_mb))}"
            raise UsageError(
                f"endpoint {self.entry.name} in {self.source}: an action has {least} to "
                f"{most:.0f} MB there{none}: change {key}"
            )
        return sizes

    @property
    def price(self) -> Price | None:
        said = self.entry.options
        if said.price_gb_s is not None or said.price_invocation is not None:
            return price_given(per_gb_s=said.price_gb_s, per_invocation=said.price_invocation)
        return self.provider.price(self.settings)

    def endpoint(self, told: Capacity) -> Endpoint:
        """What is planned with, of an endpoint whose platform tells this capacity.

        Raises:
            UsageError: it allows none of the sizes that the file says.
        """
        return Endpoint(
            name=self.entry.name,
            platform=self.provider.name,
            settings=self.settings,
            capacity=self.capacity(told),
            host_packages=self.provider.traits.host_packages,
            most_containers=self.entry.options.containers,
            sizes_mb=self.sizes_mb(told),
            price=self.price,
            store_url=str if self.store is None else partial(reached_at, self.store),
            signing_secret=self.signing_secret,
        )


def provider_of_entry(entry: EndpointEntry) -> Provider:
    return registry.provider_of(entry.options.platform)


def bound_provider(entry: EndpointEntry, file: Path, settings: Settings) -> Provider:
    """The platform of an endpoint, with what depends on what the file says of it.

    Raises:
        UsageError: that does not lead to one.
    """
    provider = provider_of_entry(entry)
    with naming(entry, file):
        return provider.of(_settings_of(entry, provider, settings))


def _settings_of(entry: EndpointEntry, provider: Provider, settings: Settings) -> Settings:
    """What leads to an endpoint, but for its address and its key."""
    return replace(
        settings,
        fabric=None,
        place=None,
        platform=provider.name,
        platform_options=entry.own,
        platform_limits=entry.options.limits,
        insecure=entry.options.insecure,
        arch=entry.options.arch or settings.arch,
    )


def named_in(file: FabricFile, settings: Settings, only: str | None = None) -> list[Named]:
    """The endpoints of a file, or the only one of a name, with the settings that lead to each.

    Raises:
        UsageError: they do not, or a key is not where the file says that it is.
    """
    found = []
    for entry in file.endpoints:
        if only not in (None, entry.name):
            continue
        said, provider = entry.options, provider_of_entry(entry)
        base = _settings_of(entry, provider, settings)
        with naming(entry, file.path):
            if said.store is not None and not _is_redis(settings.store_address):
                raise UsageError(
                    "its store is an address of the run's Redis, and the run's store "
                    f"({masked(settings.store_address or '')}) is none: leave one of the two out"
                )
            _refuse_ignored(said, provider)
            own = provider.at(base, address=said.address, key=entry.key(file.path))
            said_options(provider.name, provider.options, own)
            secret = entry.signing_secret(file.path)
            store = None if said.store is None else store_address(said.store, file.path)
        found.append(Named(entry, file.path, provider, own, store, secret))
    return found


def _refuse_ignored(said: EndpointOptions, provider: Provider) -> None:
    """Refuse what a file says that its platform makes nothing of.

    Raises:
        UsageError: it says something of that kind.
    """
    if said.insecure and "insecure" not in provider.reads:
        raise UsageError(f"insecure says nothing to platform {provider.name}: leave it out")
    if provider.traits.host_packages and said.arch not in (None, own_architecture()):
        raise UsageError(
            f"architecture is {said.architecture}, and actions of platform {provider.name} run on "
            f"CPUs like this machine's ({own_architecture()}): leave it out"
        )


def _is_redis(store: str | None) -> bool:
    """Whether a run's store is a Redis, as is the private one of those that name none."""
    return store is None or store.partition(":")[0].lower() in ("redis", "rediss", "unix")


@contextmanager
def naming(entry: EndpointEntry, source: Path) -> Iterator[None]:
    """What is wrong with what a file says of an endpoint is told with the endpoint."""
    try:
        yield
    except DisdelError as error:
        told = in_file_words(str(error), provider_of_entry(entry).options)
        where = f"endpoint {entry.name}"
        if not told.startswith(where):
            error.reworded(f"{where} in {source}: {told}")
        raise


def why_away(entry: EndpointEntry, source: Path, error: DisdelError) -> str:
    """Why an endpoint does not answer, of the error that asking it has raised.

    Raises:
        UsageError: what the file says of it leads to none.
    """
    if isinstance(error, UsageError) and not isinstance(error, ConnectionRefused):
        with naming(entry, source):
            raise error
    return in_file_words(str(error), provider_of_entry(entry).options)


def _tightest(told: float, **said: float | None) -> tuple[float, str]:
    """The least of what a platform allows and a file says, and the key that says it, if any."""
    tighter = {key: value for key, value in said.items() if value is not None and value < told}
    key = min(tighter, key=tighter.__getitem__, default="")
    return tighter.get(key, told), key
