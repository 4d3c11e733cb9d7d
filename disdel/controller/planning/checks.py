"""What a run needs, checked one by one, each with what to do when it is missing."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import disdel
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.needs import WAIT_S, needs_of
from disdel.controller.invoking.outcomes import STORE_AWAY, error_kind, failure_of
from disdel.controller.invoking.signed_code import signed_action
from disdel.controller.planning.compiled import without_image
from disdel.controller.planning.floors import shipped_costs
from disdel.controller.planning.history import history_of
from disdel.controller.planning.planning import offered_runtimes
from disdel.controller.planning.probing import probe_package
from disdel.controller.session import Session, open_session
from disdel.errors import DisdelError
from disdel.planner.calibration import calibrated
from disdel.planner.limits import round_up_memory
from disdel.planner.memory import BASE_FLOOR_MB
from disdel.platforms.base import ActionSpec
from disdel.platforms.registry import chosen
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.registry import BASE_IMAGE
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from disdel.store.inline_host import InlineHost
from disdel.store.private_redis import find_redis_server
from disdel.types import ActivationRecord, Capacity, RuntimeName
from disdel.types.plan import in_brackets

_TIMEOUT_S = 60.0
# A container that does not reach the store at once most likely never will.
_PROBE_PATIENCE_S = 5.0
# A handful of workers with a round every few seconds make more invocations than this.
_FEW_INVOKES_PER_MINUTE = 120
_REACHED = "reaches the store; "


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what was found or what to change."""

    name: str
    ok: bool
    detail: str


def run_checks(settings: Settings, runtime: RuntimeName | None = None) -> Iterator[Check]:
    """Check this machine, then the platform and its containers from inside.

    Args:
        settings: where runs would run.
        runtime: what they would run on; None for all that is offered there.
    """
    runtimes = as_measured(offered_runtimes(runtime, settings), settings)
    yield Check("python", True, sys.version.split()[0])
    for one in runtimes:
        yield _package(one.name, one.distributions, f"disdel[{one.name}]")
    yield _package("data sets", ("tensorflow-datasets",), "disdel[datasets]")
    yield _checked("store", lambda: _named_store(settings))
    yield _checked("data directory", lambda: _writable(settings.data_dir))
    yield _checked("run directory", lambda: _writable(settings.run_dir))
    yield from asyncio.run(_platform_checks(settings, runtimes))


def as_measured(runtimes: Sequence[Runtime], settings: Settings) -> list[Runtime]:
    """The runtimes with the floor of the builds that are there, as earlier containers told it."""
    return [
        replace(
            one, costs=calibrated(shipped_costs(one, settings), history_of(one, settings).read())
        )
        for one in runtimes
    ]


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except DisdelError as error:
        return Check(name, False, str(error))


def _package(name: str, distributions: tuple[str, ...], extra: str) -> Check:
    for distribution in distributions:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Check(name, True, f"{distribution} {version}")
    return Check(
        name, False, f"not installed; the embedded platform needs it: pip install '{extra}'"
    )


def _named_store(settings: Settings) -> str:
    if settings.store_address is not None:
        return "configured; checked from here and from an action below"
    return f"a private one for each run, {find_redis_server()}"


def _writable(folder: Path) -> str:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise DisdelError(f"{existing} is not writable; choose another folder")
    return str(folder)


async def _platform_checks(settings: Settings, runtimes: Sequence[Runtime]) -> list[Check]:
    try:
        async with open_session(settings) as session:
            checks = [_store(session), limits_check(session, runtimes)]
            if checks[-1].ok:
                checks += await _container_checks(session, settings, runtimes)
            return checks
    except DisdelError as error:
        return [Check("platform", False, str(error))]


def _store(session: Session) -> Check:
    """What was seen of the store; one that cannot hold a run has been refused before."""
    seen = session.examination
    if session.store.about:
        return Check("store", True, f"{session.store.address} {session.store.about}")
    if not seen.told:
        detail = "does not tell its limits (INFO is forbidden)"
    elif seen.room_mb is None:
        detail = "no limit of memory (maxmemory)"
    else:
        detail = f"room for {seen.room_mb} of {seen.maxmemory_mb} MB (maxmemory)"
    if seen.evicts is not None:
        detail += (
            f"; removes keys when it is full, those of a run too (maxmemory-policy {seen.evicts}): "
            "CONFIG SET maxmemory-policy noeviction"
        )
    if seen.makes_users and session.lasting_store is not None:
        detail += "; a user with least rights for the actions of each run"
    elif seen.makes_users is False:
        detail += (
            "; its user may make no others (ACL SETUSER): actions get this one, whose password "
            "whoever has the key of the namespace can read"
        )
    return Check("redis server", True, detail)


def limits_check(session: Session, runtimes: Sequence[Runtime]) -> Check:
    """Whether the platform lets the frameworks in."""
    capacity = session.capacity
    largest = max(runtimes, key=lambda runtime: runtime.costs.floor_mb)
    needed_mb = _framework_mb(largest, capacity.memory_min_mb)
    if capacity.memory_max_mb < needed_mb:
        return Check(
            "platform",
            False,
            f"{session.description} allows {capacity.memory_max_mb} MB an action, and "
            f"{largest.name} alone needs {needed_mb} MB; raise the platform's memory limit"
            f"{in_brackets(capacity.names.memory)}",
        )
    detail = (
        f"{session.description}; {capacity.memory_min_mb} to {capacity.memory_max_mb} MB and up to "
        f"{capacity.timeout_max_s:g} s an action, {capacity.concurrency} at once, "
        f"{capacity.invokes_per_minute} a minute"
    )
    if capacity.invokes_per_minute < _FEW_INVOKES_PER_MINUTE:
        detail += (
            "; runs of many workers or rounds will wait for the next minute"
            f"{in_brackets(capacity.names.invokes_per_minute)}"
        )
    return Check("platform", True, detail)


def _framework_mb(runtime: Runtime, minimum_mb: int) -> int:
    return round_up_memory(runtime.costs.floor_mb, minimum_mb)


def probes_of(capacity: Capacity, runtimes: Sequence[Runtime]) -> tuple[tuple[str, str, int], ...]:
    """An image, an action and a memory limit for each kind of container that runs have."""
    minimum_mb = capacity.memory_min_mb
    return (
        (BASE_IMAGE, "collectWeights", round_up_memory(BASE_FLOOR_MB, minimum_mb)),
        *((r.image, "train", _framework_mb(r, minimum_mb)) for r in runtimes if r.image),
    )


async def _container_checks(
    session: Session, settings: Settings, runtimes: Sequence[Runtime]
) -> list[Check]:
    """Start a container of each image and ask it what it is."""
    probes = probes_of(session.capacity, runtimes)
    # What travels in requests is nowhere to be reached.
    reached = "" if isinstance(session.store, InlineHost) else _REACHED
    return [
        read_probe(spec, record, reached=reached)
        for spec, record, _ in await probed(session, settings, probes)
    ]


async def probed(
    session: Session, settings: Settings, probes: Sequence[tuple[str, str, int]]
) -> list[tuple[ActionSpec, ActivationRecord, tuple[float, float]]]:
    """What containers answer who are asked what they are, and when they were, in s of this clock.

    Args:
        session: with the platform.
        settings: name images.
        probes: an image, an action and a memory limit each.
    """
    answers = []
    async with probe_package(session, "doctor") as package:
        common = messages.Common(
            v=messages.WIRE_VERSION,
            run=package,
            store=session.store_url,
            env=dict(session.action_env),
            versions={"disdel": disdel.__version__},
        )
        await session.platform.create_package(package, messages.to_json(common))
        # Of several endpoints one is asked.
        endpoint = None if session.endpoints is None else session.endpoints.all[0].name
        signer = session.signer(package, endpoint)
        for spec in await asyncio.to_thread(_probing, session, settings, probes):
            spec = signed_action(replace(spec, endpoint=endpoint), signer)
            await session.platform.create_action(package, spec)
            probe = messages.ProbeRequest()
            needs = needs_of(probe, RunKeys(package), None, spec.timeout_s)
            request = {
                **messages.to_json(probe),
                "patience_s": _PROBE_PATIENCE_S,
                **await asyncio.to_thread(session.store.lend, needs),
            }
            if signer is not None:
                inherited = replace(common, store=session.store_url_at(endpoint, common.store))
                request = signer.signed(
                    {**messages.to_json(inherited), **request}, lasts_s=spec.timeout_s + WAIT_S
                )
            began_s = time.time()
            record = await session.platform.invoke(
                package, spec.name, request, timeout_s=spec.timeout_s
            )
            answers.append((spec, record, (began_s, time.time())))
    return answers


def _probing(
    session: Session, settings: Settings, probes: Sequence[tuple[str, str, int]]
) -> list[ActionSpec]:
    """The actions that answer what their containers are: of images, or one that needs none."""
    timeout_s = min(_TIMEOUT_S, session.capacity.timeout_max_s)
    if not chosen(settings).traits.runs_images:
        spec = without_image("collectWeights", settings, session.capacity)
        return [replace(spec, timeout_s=timeout_s)]
    return [
        ActionSpec(
            name=image,
            image=settings.image(image),
            code=build_bundle(action),
            memory_mb=memory_mb,
            timeout_s=timeout_s,
        )
        for image, action, memory_mb in probes
    ]


def read_probe(
    spec: ActionSpec,
    record: ActivationRecord,
    *,
    reached: str = _REACHED,
    advice: str = "name one that the platform's containers reach with --redis",
) -> Check:
    """What a container that was asked what it is has answered, or why it has not.

    Args:
        spec: the action.
        record: of its activation.
        reached: what an answer says of the store.
        advice: what to do where it has not reached that.
    """
    name = (spec.image or "").rpartition("/")[2].partition(":")[0] or f"{spec.kind}"
    failure = failure_of(record, memory_mb=spec.memory_mb, last_used_mb=None, image=spec.image)
    if failure is None:
        fields = record.result if isinstance(record.result, dict) else {}
        reply = messages.from_json(messages.ProbeReply, fields)
        packages = ", ".join(f"{package.name} {package.version}" for package in reply.packages)
        limit = (
            "no memory limit" if reply.memory_limit_mb is None else f"{reply.memory_limit_mb} MB"
        )
        gpu = "no GPU" if reply.gpu is None else f"{reply.gpu} with {reply.gpu_memory_mb} MB"
        return Check(
            name,
            True,
            f"{reached}python {reply.python}, {packages}; sees {limit}, {reply.cpus} CPUs, {gpu}",
        )
    if error_kind(record) in STORE_AWAY:
        return Check(
            name,
            False,
            f"{failure.reason}. That is the address as an action sees it: {advice}",
        )
    if failure.missing_image:
        return Check(name, False, f"{failure.reason} {failure.advice}")
    return Check(name, False, f"{failure.outcome}: {failure.reason}")
