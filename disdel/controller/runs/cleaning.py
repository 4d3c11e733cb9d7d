"""Ending a run from outside: interrupting its controller, or removing what a dead one has left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from disdel.controller.runs.lease import Holder, RunTaken, claimed, holder_of, is_driven
from disdel.controller.runs.places import Place, read_places, remove_from, write_places
from disdel.controller.runs.run_folder import RunFolder, as_lost
from disdel.errors import DisdelError, UsageError
from disdel.platforms.registry import chosen, provider_of
from disdel.settings import Settings
from disdel.store.connecting import connect_store
from disdel.types import RunReport

_STOP_DEADLINE_S = 120.0
_POLL_S = 0.05


class StillRunning(DisdelError):
    """A run that was told to stop has not ended yet."""

    kind = "running"


async def stop_run(folder: RunFolder, settings: Settings, *, forget: bool = False) -> str:
    """End a run and remove what it has created, whether or not its controller lives.

    Args:
        folder: the run's.
        settings: how to reach the servers that it used.
        forget: give up what is on servers that do not answer any more.

    Returns:
        What was done, as a sentence.

    Raises:
        UsageError: the run has ended and left nothing, or a server cannot be reached.
        StillRunning: it could not be interrupted.
    """
    if is_driven(folder.path):
        await asyncio.to_thread(interrupt, folder.path)
        if not read_places(folder.path):
            return f"stopped {folder.run}"
    try:
        with claimed(folder.path):
            return await _clean(folder, settings, forget=forget)
    except RunTaken:
        # Taken up again in this very moment.
        await asyncio.to_thread(interrupt, folder.path)
        return f"stopped {folder.run}"


@dataclass(frozen=True, slots=True)
class Cleared:
    """A run whose controller was dead; `told` says what was removed, or why something was not."""

    run: str
    ok: bool
    told: str


async def clear_runs(runs: Iterable[RunFolder], settings: Settings) -> list[Cleared]:
    """Remove what runs whose controllers are dead have left where `settings` lead to.

    What cannot be removed of one keeps nothing of the others.
    """
    provider = chosen(settings)
    address, told = provider.address(settings), []
    for folder in runs:
        try:
            places = read_places(folder.path)
            there = any(
                place.platform == provider.name and place.address == address for place in places
            )
            if there and not is_driven(folder.path):
                told.append(Cleared(folder.run, True, await stop_run(folder, settings)))
        except DisdelError as error:
            told.append(Cleared(folder.run, False, str(error)))
    return told


async def _clean(folder: RunFolder, settings: Settings, *, forget: bool) -> str:
    """Remove what a controller that is dead has left, and write down how its run has ended."""
    report, places = _how_it_ended(folder), read_places(folder.path)
    if not places and report is None:
        raise UsageError(f"run {folder.run} is not running, and has left nothing to remove")
    left, errors = [], []
    for place in places:
        remaining, failures = await _remove_from(place, folder.run, settings)
        left.append(remaining)
        errors += failures
    write_places(folder.path, () if forget else left)
    if report is not None:
        # For those who read the file themselves.
        folder.write_report(report)
    if errors and not forget:
        raise errors[0].reworded(
            f"not all of {folder.run} could be removed: {'; '.join(map(str, errors))}. Say it "
            "again when the server answers, or give up what is there with --forget"
        )
    return f"the controller of {folder.run} was dead; removed what it had left"


def _how_it_ended(folder: RunFolder) -> RunReport | None:
    """The report of a run whose own still says that it goes on; None where nothing is to be told.

    What another release or a crash has left there keeps nothing from being removed.
    """
    try:
        written = folder.written_report()
    except UsageError:
        return None
    lost = as_lost(written)
    return None if lost is written else lost


async def _remove_from(
    place: Place, run: str, settings: Settings
) -> tuple[Place, list[DisdelError]]:
    """What is left at a place, and why."""
    errors: list[DisdelError] = []
    patience_s = settings.patience_network_s
    async with AsyncExitStack() as stack:
        platform, store, unknown = None, None, None
        if place.address is not None:
            try:
                provider = provider_of(place.platform)
                platform = provider.find(place.address, settings, insecure=place.insecure)
            except DisdelError as error:
                errors.append(error)
                unknown = place.address
        if platform is not None:
            stack.push_async_callback(platform.close)
        if place.store is not None:
            try:
                connect = partial(connect_store, place.store, patience_s=patience_s)
                store = await asyncio.to_thread(connect)
                stack.callback(store.close)
            except DisdelError as error:
                errors.append(error)
        left, failures = await remove_from(place, run, platform, store)
    return replace(left, address=unknown or left.address), errors + failures


def interrupt(folder: Path) -> None:
    """Interrupt the controller of a run, and return when it has let go of it.

    Raises:
        StillRunning: it cannot be interrupted from here, or takes too long.
    """
    holder = holder_of(folder)
    if holder is None:
        raise StillRunning(f"run {folder.name} is only starting, or another user's: try again")
    _signal(folder, holder)
    deadline_s = time.monotonic() + _STOP_DEADLINE_S
    while holder_of(folder) == holder and is_driven(folder):
        if time.monotonic() > deadline_s:
            raise StillRunning(
                f"run {folder.name} has been told to stop and is not done after "
                f"{_STOP_DEADLINE_S:g} s ({holder.process.place})"
            )
        time.sleep(_POLL_S)


def _signal(folder: Path, holder: Holder) -> None:
    if not holder.interruptible:
        raise StillRunning(
            f"run {folder.name} is part of a program ({holder.process.place}), which cannot be "
            "interrupted from outside: interrupt it there"
        )
    if not holder.process.seen_from_here:
        raise StillRunning(
            f"run {folder.name} is driven by {holder.process.place}, which cannot be seen from "
            "here: stop it on that host, in that container"
        )
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.process.pid, signal.SIGTERM)
    except PermissionError as error:
        raise StillRunning(
            f"run {folder.name} belongs to another user ({holder.process.place}), who has to "
            "stop it"
        ) from error
