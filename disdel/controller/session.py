"""The servers of a run: a platform and a Redis, found or started, and closed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from disdel.connections.patience import Tell
from disdel.connections.trust import with_certificates
from disdel.controller.runs.places import Place
from disdel.controller.runs.probes import sweep
from disdel.errors import ConnectionRefused
from disdel.host.environment import DEFAULT_PATIENCE_NETWORK_S
from disdel.platforms.base import Opened, Platform, Provider, Reach
from disdel.platforms.endpoints import Endpoints
from disdel.platforms.registry import chosen
from disdel.protocol.signing import Signer, key_of_run
from disdel.protocol.signing_keys import own_secret
from disdel.settings import Settings
from disdel.store.base import Store
from disdel.store.connecting import connect_store
from disdel.store.examination import Examination
from disdel.store.examining import examine
from disdel.store.inline import SCHEME
from disdel.store.inline_host import InlineHost
from disdel.store.private_redis import PrivateRedis, bridge_address
from disdel.types import Capacity
from disdel.types.events import Listener, Noted, silent

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Session:
    """Open connections to the servers of a run.

    Attributes:
        platform: where actions run.
        platform_name: what reports and records call it.
        description: the platform for people.
        capacity: what it allows.
        store: the run's store.
        examination: what was seen of it.
        store_url: the store as the actions reach it.
        lasting_address: what the platform is found by, where it outlives this session.
        insecure: whether the platform's certificate is not checked.
        lasting_store: its address, where it outlives this session.
        has_own_store: whether it is of this session alone, and in this machine's memory.
        patience_s: how long either is tried again when it fails.
        action_env: variables of the actions' environment.
        endpoints: what the platform is made of, where it is several.
        signing_secret: of which the keys of a run are made that sign; an endpoint's own counts
            for that one. Where there is neither, nothing is signed.
    """

    platform: Platform
    platform_name: str
    description: str
    capacity: Capacity
    store: Store
    store_url: str
    lasting_address: str | None = None
    insecure: bool = False
    lasting_store: str | None = None
    has_own_store: bool = False
    patience_s: float = DEFAULT_PATIENCE_NETWORK_S
    examination: Examination = field(default_factory=Examination)
    action_env: tuple[tuple[str, str], ...] = ()
    endpoints: Endpoints | None = None
    signing_secret: bytes | None = field(default=None, repr=False)

    def signer(self, run: str, endpoint: str | None = None) -> Signer | None:
        """What signs the requests of a run to an endpoint; None where nothing is signed."""
        own = None
        if endpoint is not None and self.endpoints is not None:
            own = self.endpoints.named(endpoint).signing_secret
        secret, name = own or self.signing_secret, endpoint or ""
        if secret is None:
            return None
        return Signer(key=key_of_run(secret, run, name), endpoint=name)

    def store_url_at(self, endpoint: str | None, url: str) -> str:
        """The store of `url` as actions at an endpoint reach it."""
        if endpoint is None or self.endpoints is None:
            return url
        return self.endpoints.named(endpoint).store_url(url)

    def hurry(self) -> None:
        """Wait for none of them any more: the run has failed, or is to end."""
        self.platform.hurry()
        self.store.patience.hurry()


def warn_of_store(session: Session, needed_mb: int, emit: Listener) -> None:
    """Tell what a user should know of the store before a run that needs so much of it."""
    warning = session.examination.warning(session.store.address, needed_mb)
    if warning is not None:
        emit(Noted(message=warning))


@asynccontextmanager
async def open_session(
    settings: Settings, emit: Listener = silent, *, provider: Provider | None = None
) -> AsyncIterator[Session]:
    """The servers that `settings` name, or private ones; those that were started end with it.

    Args:
        settings: name them.
        emit: told when one of them fails for some time.
        provider: of the platform, where it is only a part of what they name, or has begun already.

    Raises:
        UsageError: the signing key cannot be read.
        ConnectionRefused: a named server does not answer, refuses the key, or cannot hold a run.
        PlatformLost, StoreLost: one answers, but that it cannot serve now.
    """

    def tell(sentence: str) -> None:
        emit(Noted(message=sentence))

    provider = provider or chosen(settings)
    secret = own_secret(settings.signing_key)
    url = settings.store_address
    async with AsyncExitStack() as stack:
        private, because = None, ""
        if url is None:
            address, because = await _redis_address(provider, settings)
            if address is None:
                url = SCHEME
                tell(f"{because}: requests and answers carry the data; --store URL names a store")
            else:
                private = PrivateRedis(address)
                stack.push_async_callback(asyncio.to_thread, private.close)
        opened = await stack.enter_async_context(provider.open(settings, tell))
        if private is not None:
            private.ready()
            url = private.url
            # It ends beside the platform, which is waited for.
            stack.callback(private.leave)
        assert url is not None
        connect = partial(connect_store, url, patience_s=settings.patience_network_s, tell=tell)
        store = await asyncio.to_thread(connect)
        stack.callback(store.close)
        if private is not None:
            store.patience.has_ended = private.has_ended
        capacity = await opened.platform.capacity()
        if isinstance(store, InlineHost):
            store.payload_bytes, store.because = capacity.payload_bytes, because
        if opened.address is not None:
            await _sweep(provider, opened, settings, tell)
        yield Session(
            platform=opened.platform,
            platform_name=provider.name,
            description=opened.description,
            capacity=capacity,
            store=store,
            store_url=with_certificates(url),
            lasting_address=opened.address,
            insecure=opened.insecure,
            lasting_store=url if private is None and store.lasting else None,
            has_own_store=private is not None,
            patience_s=settings.patience_network_s,
            examination=await asyncio.to_thread(examine, store),
            action_env=settings.action_variables,
            endpoints=opened.endpoints,
            signing_secret=secret,
        )


async def _sweep(provider: Provider, opened: Opened, settings: Settings, tell: Tell) -> None:
    """Remove what killed commands have asked this platform with."""
    one = provider.address(settings)

    def is_there(place: Place) -> bool:
        # Of a platform that is one for all settings the address may have changed.
        return place.platform == provider.name and (one is None or place.address == opened.address)

    for error in await sweep(opened.platform, is_there):
        tell(f"a package of a command that was killed is not removed: {error}")


async def _redis_address(provider: Provider, settings: Settings) -> tuple[str | None, str]:
    """The address of this machine where all actions reach a private Redis; or None, and why.

    Raises:
        UsageError: the settings lead nowhere.
        ConnectionRefused: the platform has to be asked, and does not answer.
    """
    parts = provider.parts(settings)
    reaches: dict[str, Reach] = {}
    for name, part in parts or (("", provider),):
        try:
            reaches[name] = await part.reach(settings)
        except ConnectionRefused:
            # That one of several does not answer is told where it is opened.
            if not parts:
                raise
    bridge = bridge_address() if "bridge" in reaches.values() else None
    far = [name for name, reach in reaches.items() if _address(reach, bridge) is None]
    if far:
        where = f"at {provider.address(settings)}" if not parts else f"of {' and '.join(far)}"
        return None, f"actions {where} cannot reach a private Redis on this machine"
    # Whoever has the loopback of this machine has all its addresses.
    return bridge or _LOOPBACK, ""


def _address(reach: Reach, bridge: str | None) -> str | None:
    return {"loopback": _LOOPBACK, "bridge": bridge, "nowhere": None}[reach]
