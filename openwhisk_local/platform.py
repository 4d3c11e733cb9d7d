"""A whole platform in one process: puts the parts together, and takes them apart again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp

from openwhisk_local.containers.cgroups import remove_tree
from openwhisk_local.containers.container import Container
from openwhisk_local.containers.folders import remove_folder
from openwhisk_local.containers.growth import Growth
from openwhisk_local.containers.invoker import Invoker
from openwhisk_local.containers.isolation import kill_marked, open_enforcement
from openwhisk_local.containers.namespaces import Isolation, open_isolation
from openwhisk_local.containers.pool import Pool, Stem
from openwhisk_local.entities.names import DEFAULT_NAMESPACE, NAMESPACE, is_path
from openwhisk_local.entities.room import Entity, Room
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.errors import Refused
from openwhisk_local.invoking.firing import Firing
from openwhisk_local.invoking.invocation import Invocation
from openwhisk_local.invoking.invocations import Invocations
from openwhisk_local.invoking.record_store import RecordLimits, RecordStore
from openwhisk_local.limits import MAX_ENTITIES_MB, PlatformLimits
from openwhisk_local.machine.process_identity import own_identity
from openwhisk_local.machine.scratch import Scratch
from openwhisk_local.machine.scratch import sweep as sweep_scratch
from openwhisk_local.metrics import Metrics
from openwhisk_local.proxies import lay_proxies
from openwhisk_local.records import (
    PlatformRecord,
    is_dead,
    read_records,
    remove_record,
    write_record,
)
from openwhisk_local.rest.api import Api
from openwhisk_local.rest.server import Server, listen
from openwhisk_local.rest.tenants import Tenant, Tenants
from openwhisk_local.rest.throttle import Throttle
from openwhisk_local.state import State

_FOLDER_PREFIX = "disdel-platform-"
_SECRET_LENGTH = 64
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run the platform.

    Containers grow to `grow_to_mb` at most, 0 is not at all. `state` is the folder for what
    outlives the platform, None to forget everything. `entities_mb` is what packages, actions,
    triggers and rules may take together, their code included. `namespaces` are there beside the
    first, each with a key of its own. `pass_env` names variables that containers inherit.

    Raises:
        Refused: the stem cells, or the growth of containers, are beyond the limits, or a
            namespace cannot be called so.
    """

    limits: PlatformLimits
    port: int
    state_dir: Path
    shared: bool
    only_sampling: bool
    log: Path | None
    stems: tuple[Stem, ...] = ()
    grow_to_mb: int = 0
    state: Path | None = None
    records: RecordLimits = field(default_factory=RecordLimits)
    entities_mb: int = MAX_ENTITIES_MB
    namespaces: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.namespaces:
            if not is_path(name) or "/" in name or name in (NAMESPACE, DEFAULT_NAMESPACE):
                raise Refused(
                    f"no namespace can be called {name!r}: it takes letters, digits and @ . & - _, "
                    f"and is not {NAMESPACE}, which is there, or {DEFAULT_NAMESPACE}"
                )
        stems_mb = sum(stem.memory_mb * stem.count for stem in self.stems)
        if stems_mb > self.limits.user_memory_mb:
            raise Refused(
                f"the prewarmed containers need {stems_mb} MB, and all containers together may "
                f"have {self.limits.user_memory_mb} MB: ask for fewer, or raise the user memory"
            )
        if self.grow_to_mb > self.limits.max_memory_mb:
            raise Refused(
                f"containers cannot grow to {self.grow_to_mb} MB where an action may have "
                f"{self.limits.max_memory_mb} MB at most"
            )


def new_key() -> str:
    """A key that only this platform knows, in OpenWhisk's form."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return f"{uuid.uuid4()}:{secret}"


def sweep(state_dir: Path) -> None:
    """Remove what dead platforms have left: processes, cgroups, folders, records.

    A platform that lives, or may live where this process cannot see it, keeps what it has.
    """
    for record in read_records(state_dir):
        if not is_dead(state_dir, record):
            continue
        for cgroup in record.cgroups:
            remove_tree(Path(cgroup))
        kill_marked(record.id)
        remove_folder(Path(record.folder))
        if record.log:
            Path(record.log).unlink(missing_ok=True)
        remove_record(state_dir, record)
    sweep_scratch(_FOLDER_PREFIX, end=remove_folder)


class _Platform:
    """The parts of a running platform, and what they hold outside of this process."""

    def __init__(self, settings: Settings, port: int) -> None:
        platform_id = secrets.token_hex(6)
        apihost = f"http://127.0.0.1:{port}"
        self._state = State(settings.state) if settings.state else None
        names = dict.fromkeys((NAMESPACE, *settings.namespaces))
        keys = {
            name: self._state.key(new_key(), name) if self._state else new_key() for name in names
        }
        self._state_dir = settings.state_dir
        self._enforcement = open_enforcement(platform_id, only_sampling=settings.only_sampling)
        with contextlib.ExitStack() as undo:
            undo.callback(self._enforcement.close)
            # Swept by the next platform also where this one is killed before it has a record.
            self._scratch = Scratch(_FOLDER_PREFIX)
            self._folder = self._scratch.path
            undo.callback(self._remove_folder)
            proxies = lay_proxies(self._folder / "proxy")
            containers = self._folder / "containers"
            containers.mkdir()
            isolation = open_isolation(containers, self._folder / "proxy")
            self.record = PlatformRecord(
                id=platform_id,
                process=own_identity(),
                apihost=apihost,
                auth=keys[NAMESPACE],
                namespaces={name: key for name, key in keys.items() if name != NAMESPACE},
                port=port,
                enforcement=self._enforcement.name,
                isolation=isolation.name,
                limits=settings.limits.profile,
                user_memory_mb=settings.limits.user_memory_mb,
                shared=settings.shared,
                cgroups=tuple(str(folder) for folder in self._enforcement.folders),
                folder=str(self._folder),
                log=str(settings.log) if settings.log else None,
            )
            self._record_lock = write_record(settings.state_dir, self.record)
            undo.pop_all()
        self._invoker = Invoker(
            platform_id=platform_id,
            apihost=apihost,
            proxies=proxies,
            folder=containers,
            enforcement=self._enforcement,
            isolation=isolation,
            growth=Growth(settings.grow_to_mb),
            inherited={name: os.environ[name] for name in settings.pass_env if name in os.environ},
        )
        self._pool: Pool[Invocation, Container] = Pool(
            self._invoker, settings.limits.user_memory_mb, settings.stems
        )
        self._invocations: list[Invocations] = []
        room = Room(settings.entities_mb)
        kept = self._state.entities() if self._state else []
        tenants = {
            name: Tenant(key, self._api(settings, isolation, name, key, room, kept))
            for name, key in keys.items()
        }
        self.app = Tenants(tenants)
        self._pool.open()

    def _api(
        self,
        settings: Settings,
        isolation: Isolation,
        namespace: str,
        key: str,
        room: Room,
        kept: list[Entity],
    ) -> ASGIApp:
        """The API of one namespace; all of them share the pool, and the `room` for entities."""
        own = [entity for entity in kept if entity.id.space == namespace]
        entities = EntityStore(settings.limits, self._state, own, room=room, space=namespace)
        every = self._state.records() if self._state else ()
        records = (record for record in every if record.namespace == namespace)
        metrics, throttle = Metrics(), Throttle(settings.limits)
        store = RecordStore(settings.records, self._state, records, metrics.count)
        invocations = Invocations(entities, throttle, self._pool, store)
        self._invocations.append(invocations)
        api = Api(
            namespace=namespace,
            auth=key,
            allowed=settings.limits,
            enforcement=self._enforcement,
            isolation=isolation,
            entities=entities,
            throttle=throttle,
            invocations=invocations,
            firing=Firing(entities, throttle, invocations, store),
            store=store,
            metrics=metrics,
        )
        return api.application()

    async def expect(self, images: asyncio.Queue[str]) -> None:
        """Import ahead what containers of these kinds and images share."""
        while True:
            self._invoker.expect(await images.get())

    async def stop(self) -> None:
        """End every activation and container; whoever waits for one gets an answer."""
        self._invoker.kill_busy()
        # What was imported for containers takes as long to end as they do.
        await asyncio.gather(self._invoker.close(), self._pool.close())
        for invocations in self._invocations:
            await invocations.close()

    def _remove_folder(self) -> None:
        remove_folder(self._folder)
        self._scratch.close()

    def remove(self) -> None:
        self._enforcement.close()
        if self._state:
            self._state.close()
        self._remove_folder()
        if self.record.log:
            Path(self.record.log).unlink(missing_ok=True)
        remove_record(self._state_dir, self.record)
        os.close(self._record_lock)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[PlatformRecord], None],
    expected: asyncio.Queue[str],
) -> None:
    """Run a platform until `stop` is set; `ready` is called once requests are answered.

    Containers of what is in `expected`, or is put there, are prepared for.

    Raises:
        OSError: the port is taken, or the state directory cannot be written.
        StateError: what an earlier platform has left in the state folder cannot be used.
    """
    with listen(settings.port) as listener:
        sweep(settings.state_dir)
        platform = _Platform(settings, listener.getsockname()[1])
        try:
            server = Server(platform.app, lambda: ready(platform.record))
            expecting = asyncio.create_task(platform.expect(expected))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            expecting.cancel()
            await platform.stop()
            server.stop()
            await serving
        finally:
            platform.remove()
