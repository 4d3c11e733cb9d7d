"""Each endpoint of several, checked as a platform of its own; then all against each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from disdel.controller.planning.checks import (
    Check,
    as_measured,
    limits_check,
    probed,
    probes_of,
    read_probe,
)
from disdel.controller.planning.planning import offered_runtimes
from disdel.controller.session import open_session
from disdel.errors import DisdelError
from disdel.platforms.base import Endpoint, Provider
from disdel.platforms.registry import chosen
from disdel.protocol import messages
from disdel.runtimes.registry import runtime_named
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from disdel.types import ActivationRecord, RuntimeName
from disdel.types.words import counted

# Whoever asks whether an endpoint answers waits for it.
_PATIENCE_S = 10.0
# Beyond it, signed requests and records are taken for old ones.
_MOST_OFFSET_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCheck:
    """What was found of an endpoint.

    Attributes:
        endpoint: its name.
        platform: the name of its platform; empty where it could not be opened.
        checks: one by one.
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
            found = _facts(endpoint, (reached, limits))
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


def _facts(endpoint: Endpoint, checks: tuple[Check, ...]) -> EndpointCheck:
    capacity = endpoint.capacity
    return EndpointCheck(
        endpoint=endpoint.name,
        platform=endpoint.platform,
        checks=checks,
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
        checks.append(read_probe(spec, record))  # type: ignore[arg-type]
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
    if found.clock_offset_s is not None and abs(found.clock_offset_s) > _MOST_OFFSET_S:
        detail = (
            f"the clock of its containers is {found.clock_offset_s:+.0f} s off this one's, and "
            f"{_MOST_OFFSET_S:g} s are allowed: set both by NTP"
        )
        checks.append(Check("clock", False, detail))
    return replace(found, checks=tuple(checks))


def _offset_s(now_ms: int | None, asked: tuple[float, float]) -> float | None:
    """How far a clock is ahead at least, that was read between two moments of this one."""
    if now_ms is None:
        return None
    began_s, ended_s = asked
    now_s = now_ms / 1000
    return round(now_s - min(max(now_s, began_s), ended_s), 3)


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
