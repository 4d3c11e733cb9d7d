"""What every run has in common: its package comes and goes, and its report is always written."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from disdel.controller.invoking.invoker import Invoker
from disdel.controller.runs.lease import Lease
from disdel.controller.runs.places import Place, read_places, remove_from, write_places
from disdel.controller.runs.rescue import write_somewhere
from disdel.controller.runs.run_users import address_for_actions, user_of_run
from disdel.errors import DisdelError, HostFailed, StoreError
from disdel.host.telling import told
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.types import ErrorReport, RunReport
from disdel.types.events import Noted, RunEnded
from disdel.types.report_json import report_text

PROGRESS_INTERVAL_S = 0.25
# Of the lifetime of a run's keys: some renewals may fail before any is lost.
_RENEWALS = 8


@asynccontextmanager
async def deployed(invoker: Invoker, lease: Lease, *, keep: bool) -> AsyncIterator[None]:
    """The run's package exists inside, and what the workers say of themselves is heard.

    Afterwards, whatever happened, the package with its actions and everything in the store are
    removed, unless the user wants to keep them; servers of the run's own take them along. What is
    on others is on record from before it is made until it is gone, for `disdel stop`.
    """
    session, package, folder = invoker.session, invoker.package, invoker.folder
    asks_for_memory = invoker.memory_secret is not None
    user = user_of_run(session, folder.run, asks_for_memory=asks_for_memory)
    place = Place(
        platform=session.platform_name,
        address=session.lasting_address,
        insecure=session.insecure,
        store=session.lasting_store,
        redis_user=None if user is None else user.name,
    )
    write_places(folder.path, (*read_places(folder.path), place))

    async def create() -> None:
        await asyncio.to_thread(_open, session.store, folder.run, invoker.keys)
        invoker.store_url = await asyncio.to_thread(
            address_for_actions, session, user, invoker.emit
        )
        await invoker.deploy()

    creating = asyncio.create_task(create())
    beside = (
        asyncio.create_task(_listen(invoker)),
        asyncio.create_task(_renew(session.store, invoker.keys)),
    )
    try:
        # Whole or not at all: what is interrupted on its way could arrive after it was removed.
        await asyncio.shield(creating)
        yield
        await invoker.logs.finish()
        await _tell_of_twins(invoker)
    except BaseException:
        session.hurry()
        raise
    finally:
        await asyncio.wait([creating])
        creating.exception()  # It is told already, or an interrupt came first.
        for task in beside:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if not lease.is_held:
            pass  # What is there is another controller's.
        elif keep:
            invoker.emit(
                _left(
                    f"kept: package {package}, store keys {invoker.keys.prefix}*; "
                    f"disdel stop {folder.run} removes them"
                )
            )
        else:
            if invoker.creating:
                # Nobody waits for those any more, and they would arrive after they were removed.
                await asyncio.wait(invoker.creating)
            await invoker.stop_writing()
            await _remove(invoker, place)
            session.platform.leave()


async def _tell_of_twins(invoker: Invoker) -> None:
    """Count the activations that found their work begun or done: platforms deliver twice."""
    store, key = invoker.session.store, invoker.keys.again
    with contextlib.suppress(StoreError):
        if count := len(await asyncio.to_thread(store.fields, key)):
            invoker.emit(
                Noted(
                    message=f"{count} activation(s) came for work that another had begun or done, "
                    "and did nothing: of each invocation the first counts"
                )
            )


def _left(message: str) -> Noted:
    return Noted(message=message, matters=True)


def _open(store: Store, run: str, keys: RunKeys) -> None:
    """Begin with an empty store, where an earlier controller of this run may have left things."""
    store.delete_prefix(RunKeys(run).prefix)
    store.set_field(keys.open, RunKeys.WIRE, str(messages.WIRE_VERSION))


async def _remove(invoker: Invoker, place: Place) -> None:
    """Remove package and stored data where they would outlive the run.

    A failure is told and does not hide what came before it.
    """
    session, folder = invoker.session, invoker.folder
    left, errors = await remove_from(place, folder.run, session.platform, session.store)
    for error in errors:
        invoker.emit(_left(f"not removed: {error}. Later: disdel stop {folder.run}"))
    places = [left if other == place else other for other in read_places(folder.path)]
    write_places(folder.path, places)


async def _renew(store: Store, keys: RunKeys) -> None:
    """Keep what the run has stored from expiring, however long it takes."""
    while True:
        await asyncio.sleep(store.lifetime_s / _RENEWALS)
        # An outage is told by the store, and ends the run where it matters.
        with contextlib.suppress(StoreError):
            await asyncio.to_thread(store.renew_prefix, keys.prefix)


async def _listen(invoker: Invoker) -> None:
    while True:
        for progress in (await invoker.progress()).values():
            invoker.emit(progress)
        await asyncio.sleep(PROGRESS_INTERVAL_S)


async def run_to_report(
    invoker: Invoker,
    work: Callable[[], Awaitable[None]],
    report: Callable[[], RunReport],
    *,
    lease: Lease,
    keep: bool,
) -> RunReport:
    """Do the work with its package deployed, and save what `report` then tells of it.

    The report is written and `RunEnded` emitted however the work ends; a failed run's report says
    why. While the work goes on, the report says so. Where another controller has taken the run
    over, what is there is its.

    Raises:
        DisdelError: the work failed.
    """
    error: ErrorReport | None = None
    folder = invoker.folder
    try:
        begun = dataclasses.replace(report(), status="running")
        folder.write_report(begun)
        async with deployed(invoker, lease, keep=keep):
            await work()
    except BaseException as failure:
        error = _error(failure)
        if error.kind == HostFailed.kind and not isinstance(failure, HostFailed):
            raise HostFailed(error.message) from failure
        raise
    finally:
        final = report()
        if error is not None:
            cut_off = error.kind == "interrupted"
            final = dataclasses.replace(
                final, status="interrupted" if cut_off else "failed", error=error
            )
        elsewhere = _save_report(invoker, final) if lease.is_held else None
        invoker.emit(RunEnded(report=final, folder=str(folder.path), elsewhere=elsewhere))
    return final


def _error(failure: BaseException) -> ErrorReport:
    """What the report says of the end of a run."""
    if isinstance(failure, DisdelError):
        return ErrorReport(kind=failure.kind, message=str(failure))
    if isinstance(failure, asyncio.CancelledError | KeyboardInterrupt):
        return ErrorReport(kind="interrupted", message="interrupted by the user")
    if (said := told(failure)) is not None:
        return ErrorReport(kind=HostFailed.kind, message=said[0])
    return ErrorReport(kind="internal", message=f"{type(failure).__name__}: {failure}")


def _save_report(invoker: Invoker, report: RunReport) -> str | None:
    """Save the last report of a run, where there is room; that there is none hides nothing.

    Returns:
        Where it is, if not in the run's folder; empty where it is nowhere.
    """
    path, data = invoker.folder.report, report_text(report)
    try:
        found, why = write_somewhere(path, data)
    except HostFailed as error:
        invoker.emit(_left(f"the report is lost: {error}"))
        return ""
    if why is None:
        return None
    invoker.emit(_left(f"{why}: the report is in {found}"))
    return str(found)
