"""Each endpoint of several, checked as a platform of its own; then all against each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from disdel.connections.masking import masked
from disdel.controller.invoking.outcomes import STORE_AWAY, error_kind
from disdel.controller.planning.checks import (
    Check,
    as_measured,
    limits_check,
    probed,
    probes_of,
    read_probe,
)
from disdel.controller.planning.planning import offered_runtimes
from disdel.controller.session import Session, open_session
from disdel.errors import DisdelError
from disdel.platforms.base import Provider
from disdel.platforms.endpoints import Endpoint
from disdel.platforms.registry import chosen
from disdel.protocol import messages
from disdel.runtimes.registry import runtime_named
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from disdel.store.inline_host import InlineHost
from disdel.types import ActivationRecord, RuntimeName
from disdel.types.units import format_bytes
from disdel.types.words import counted

# Whoever asks whether an endpoint answers waits for it.
_PATIENCE_S = 10.0
# Beyond it, signed requests and records are taken for old ones.
_MOST_OFFSET_S = 30.0
# What stores are called that nobody has named.
_PRIVATE, _INLINE = "private", "inline"
_STORE_ADVICE = (
    "name one that its containers reach with --store URL, say its address there as store of the "
    "endpoint in the file, or, where data are small, take --store inline:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCheck:
    """What was found of an endpoint.

    Attributes:
        endpoint: its name.
        platform: the name of its platform; empty where it could not be opened.
        checks: one by one.
        store: what runs would have for one there, where they need no other endpoint: an address as
            its containers have it, `private` of this machine, or `inline`: none, where they
            reach no other.
        reaches_store: whether its containers do; None where they were not asked.
        memory_mb: the least and the most memory of an action.
        sizes_mb: those that an action can have; empty for any.
        timeout_s: the longest call: the smallest time-out on the way to it.
        payload_bytes: of a request and an answer.
        at_once: how many run at the same time.
        usd_per_gb_s: what it takes; None where nobody has named a price.
        clock_offset_s: how far its containers' clock is ahead of this one.
        python: of its containers.
        machine: their CPUs' architecture.
        packages: the versions of what they have.
        arithmetic: a digest of what they make of fixed numbers.
    """

    endpoint: str
    platform: str = ""
    checks: tuple[Check, ...]
    store: str | None = None
    reaches_store: bool | None = None
    memory_mb: tuple[int, int] | None = None
    sizes_mb: tuple[int, ...] = ()
    timeout_s: float | None = None
    payload_bytes: int | None = None
    at_once: int | None = None
    usd_per_gb_s: float | None = None
    clock_offset_s: float | None = None
    python: str | None = None
    machine: str | None = None
    packages: Mapping[str, str] | None = None
    arithmetic: str | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def check_endpoints(settings: Settings, runtime: RuntimeName | None = None) -> list[EndpointCheck]:
    """Look at each endpoint that `settings` name, and into its containers.

    Args:
        settings: with the endpoints.
        runtime: what runs would run on; None for all that is offered at each.

    Raises:
        UsageError: they name none, or the file that names them cannot be read.
    """
    settings = replace(settings, patience_network_s=min(settings.patience_network_s, _PATIENCE_S))
    return asyncio.run(_all(settings, runtime))


async def _all(settings: Settings, runtime: RuntimeName | None) -> list[EndpointCheck]:
    parts = chosen(settings).parts(settings)
    # In turn: platforms that are started for it share this machine.
    return [await _one(name, provider, settings, runtime) for name, provider in parts]


async def _one(
    name: str, provider: Provider, settings: Settings, runtime: RuntimeName | None
) -> EndpointCheck:
    try:
        async with open_session(settings, provider=provider) as session:
            assert session.endpoints is not None
            [endpoint] = session.endpoints.all
            runtimes = _runtimes(endpoint, runtime)
            reached = Check("reached", True, session.description)
            limits = limits_check(replace(session, description=f"endpoint {name}"), runtimes)
            found = _facts(endpoint, (reached, limits), _store_of(session, settings))
            if not limits.ok:
                return found
            answers = await probed(
                session, endpoint.settings, probes_of(endpoint.capacity, runtimes)
            )
    except DisdelError as error:
        return EndpointCheck(endpoint=name, checks=(Check("reached", False, str(error)),))
    return _with_probes(found, answers)


def _runtimes(endpoint: Endpoint, runtime: RuntimeName | None) -> list[Runtime]:
    if runtime is not None:
        return [runtime_named(runtime)]
    return as_measured(offered_runtimes(None, endpoint.settings), endpoint.settings)


def _store_of(session: Session, settings: Settings) -> str:
    """What `EndpointCheck` calls the store of a session with one endpoint."""
    if isinstance(session.store, InlineHost):
        return _INLINE
    if settings.store_address is None:
        return _PRIVATE
    assert session.endpoints is not None
    own = session.endpoints.all[0].store_url(settings.store_address)
    return masked(own)


def _facts(endpoint: Endpoint, checks: tuple[Check, ...], store: str) -> EndpointCheck:
    capacity = endpoint.capacity
    return EndpointCheck(
        endpoint=endpoint.name,
        platform=endpoint.platform,
        checks=checks,
        store=store,
        memory_mb=(capacity.memory_min_mb, capacity.memory_max_mb),
        sizes_mb=endpoint.sizes_mb,
        timeout_s=capacity.timeout_max_s,
        payload_bytes=capacity.payload_bytes,
        at_once=capacity.concurrency,
        usd_per_gb_s=None if endpoint.price is None else endpoint.price.per_gb_s,
    )


def _with_probes(
    found: EndpointCheck, answers: Sequence[tuple[object, ActivationRecord, tuple[float, float]]]
) -> EndpointCheck:
    checks = list(found.checks)
    packages: dict[str, str] = {}
    for spec, record, asked in answers:
        probe = read_probe(spec, record, reached="", advice=_STORE_ADVICE)  # type: ignore[arg-type]
        checks.append(probe)
        if not checks[-1].ok or not isinstance(record.result, dict):
            continue
        reply = messages.from_json(messages.ProbeReply, record.result)
        packages |= {package.name: package.version for package in reply.packages}
        offset_s = _offset_s(reply.now_ms, asked)
        found = replace(
            found,
            clock_offset_s=offset_s,
            python=reply.python,
            machine=reply.machine,
            packages=packages,
            arithmetic=reply.arithmetic,
        )
    found = replace(found, reaches_store=_reaches(answers))
    if found.reaches_store:
        checks.insert(1, Check("store", True, _store_told(found)))
    if found.clock_offset_s is not None and abs(found.clock_offset_s) > _MOST_OFFSET_S:
        detail = (
            f"the clock of its containers is {found.clock_offset_s:+.0f} s off this one's, and "
            f"{_MOST_OFFSET_S:g} s are allowed: set both by NTP"
        )
        checks.append(Check("clock", False, detail))
    return replace(found, checks=tuple(checks))


def _reaches(
    answers: Sequence[tuple[object, ActivationRecord, tuple[float, float]]],
) -> bool | None:
    """Whether containers that were asked have reached the store; None where none has said so."""
    if any(record.ending == "success" for _, record, _ in answers):
        return not any(error_kind(record) in STORE_AWAY for _, record, _ in answers)
    return False if any(error_kind(record) in STORE_AWAY for _, record, _ in answers) else None


def _store_told(found: EndpointCheck) -> str:
    if found.store == _PRIVATE:
        return "a private Redis on this machine, reached from inside"
    if found.store == _INLINE:
        most = format_bytes(found.payload_bytes or 0)
        return f"none: requests and answers carry the data, at most {most} each"
    return f"{found.store}, reached from inside"


def _offset_s(now_ms: int | None, asked: tuple[float, float]) -> float | None:
    """How far a clock is ahead at least, that was read between two moments of this one."""
    if now_ms is None:
        return None
    began_s, ended_s = asked
    now_s = now_ms / 1000
    return round(now_s - min(max(now_s, began_s), ended_s), 3)


def store_of_runs(found: Sequence[EndpointCheck], store: str | None) -> Iterator[str]:
    """Which store runs have on these endpoints, and who keeps them from having another.

    Args:
        found: of each endpoint.
        store: the address that the user has named.
    """
    asked = [one for one in found if one.reaches_store is not None]
    far = [one.endpoint for one in asked if not one.reaches_store]
    carried = [one.endpoint for one in asked if one.store == _INLINE]
    if far:
        yield f"the store is not reached from inside {' and '.join(far)}: runs end there"
    elif carried:
        least = min(asked, key=lambda one: one.payload_bytes or 0)
        why = "--store inline: is named"
        if store is None:
            why = f"{' and '.join(carried)} cannot reach a private Redis on this machine"
        yield (
            f"runs have no store, since {why}: requests and answers carry the data, at most "
            f"{format_bytes(least.payload_bytes or 0)} each (at {least.endpoint}); --store URL "
            "names one for more"
        )
    elif asked:
        named = "a private Redis on this machine" if store is None else masked(store)
        yield f"runs have {named} as their store: all that answer reach it from inside"


def differences(found: Sequence[EndpointCheck]) -> Iterator[str]:
    """What endpoints that answer have of different kinds, and what it means."""
    there = [one for one in found if one.ok]
    for what, values in (
        ("Python", {one.endpoint: one.python for one in there}),
        ("CPUs", {one.endpoint: one.machine for one in there}),
        *(
            (name, {one.endpoint: (one.packages or {}).get(name) for one in there})
            for name in sorted({name for one in there for name in one.packages or {}})
        ),
    ):
        if len({value for value in values.values() if value is not None}) > 1:
            told = ", ".join(f"{name} {value}" for name, value in values.items() if value)
            yield f"{what} differs: {told}; results may differ in their last bits"
    kinds = {one.arithmetic for one in there if one.arithmetic}
    if len(kinds) > 1:
        told = ", ".join(f"{one.endpoint} {one.arithmetic}" for one in there)
        yield (
            "numpy rounds differently at the endpoints (other processors, or OPENBLAS_CORETYPE in "
            f"an environment): where a client trains may decide on the last bits ({told})"
        )
    timed = [one for one in there if one.timeout_s is not None]
    if timed:
        least = min(timed, key=lambda one: one.timeout_s or 0.0)
        yield (
            f"the smallest time-out is {least.timeout_s:g} s, at {least.endpoint}: what takes "
            "longer there is cut into segments"
        )
    if lost := len(found) - len(there):
        yield f"{counted(lost, 'endpoint')} of {len(found)} cannot be used as things are"
