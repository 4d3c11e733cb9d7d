"""What every run has in common: its package comes and goes, and its report is always written."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from disdel import wire
from disdel.controller.invoker import Invoker
from disdel.controller.report_json import report_to_json
from disdel.controller.running import announced
from disdel.errors import DisdelError
from disdel.events import Noted, RunEnded
from disdel.store.base import Store
from disdel.store.keys import RunKeys
from disdel.types import ErrorReport, RunReport

PROGRESS_INTERVAL_S = 0.25


@asynccontextmanager
async def deployed(invoker: Invoker, *, keep: bool) -> AsyncIterator[None]:
    """The run's package exists inside, and what the workers say of themselves is heard.

    Afterwards, whatever happened, the package with its actions and everything in the store are
    removed, unless the user wants to keep them; servers of the run's own take them along.
    """
    session, package = invoker.session, invoker.package
    common = wire.Common(v=wire.WIRE_VERSION, run=invoker.keys.run, redis=session.redis_url)
    listening = asyncio.create_task(_listen(invoker))
    try:
        await asyncio.to_thread(_open, session.store, invoker.keys)
        await session.platform.create_package(package, wire.to_json(common))
        yield
        await invoker.finish_logs()
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        if keep:
            invoker.emit(
                Noted(message=f"kept: package {package}, store keys {invoker.keys.prefix}*")
            )
        else:
            await _remove(invoker)


def _open(store: Store, keys: RunKeys) -> None:
    """Begin with an empty store, where an earlier controller of this run may have left things."""
    store.delete_prefix(keys.prefix)
    store.set_field(keys.open, "wire_version", str(wire.WIRE_VERSION))


async def _remove(invoker: Invoker) -> None:
    """Remove package and stored data where they would outlive the run.

    A failure is told and does not hide what came before it.
    """
    session = invoker.session
    try:
        if session.lasting_apihost is not None:
            await session.platform.remove_package(invoker.package)
        if session.lasting_redis is not None:
            await asyncio.to_thread(session.store.delete_prefix, invoker.keys.prefix)
    except DisdelError as error:
        invoker.emit(Noted(message=f"{invoker.package} was not removed: {error}"))


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
    keep: bool,
) -> RunReport:
    """Do the work with its package deployed, and save what `report` then tells of it.

    The report is written and `RunEnded` emitted however the work ends; a failed run's report says
    why. While the work goes on, the report says so.

    Raises:
        DisdelError: the work failed.
    """
    error: ErrorReport | None = None
    folder, session = invoker.folder, invoker.session
    with announced(
        folder.path,
        apihost=session.lasting_apihost,
        insecure=session.insecure,
        redis=session.lasting_redis,
    ):
        try:
            begun = dataclasses.replace(report(), status="running")
            folder.write_report(report_to_json(begun))
            async with deployed(invoker, keep=keep):
                await work()
        except DisdelError as failure:
            error = ErrorReport(kind=failure.kind, message=str(failure))
            raise
        except asyncio.CancelledError:
            error = ErrorReport(kind="interrupted", message="interrupted by the user")
            raise
        except BaseException as bug:
            error = ErrorReport(kind="internal", message=f"{type(bug).__name__}: {bug}")
            raise
        finally:
            final = report()
            if error is not None:
                final = dataclasses.replace(final, status="failed", error=error)
            folder.write_report(report_to_json(final))
            invoker.emit(RunEnded(report=final, folder=str(folder.path)))
    return final
