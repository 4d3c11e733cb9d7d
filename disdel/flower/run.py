"""A run of a Flower app: its ServerApp here, each call of its ClientApp an activation."""

from __future__ import annotations

import importlib.util
import io
import secrets
import time
import zipfile
from contextlib import AsyncExitStack

from disdel.controller.invoking.bundle import build_bundle, check_code
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.lifecycle import run_to_report
from disdel.controller.planning.nodes import with_nodes
from disdel.controller.runs.lease import claimed
from disdel.controller.runs.run_folder import RunFolder, check_run_dir, create_run_folder
from disdel.controller.session import open_session
from disdel.errors import UsageError
from disdel.flower.places import places_of
from disdel.flower.server import AppFacts, server_process
from disdel.flower.serving import FlowerRun
from disdel.flower.sizing import FIRST_MB, read_peak, start_of
from disdel.platforms.base import ActionSpec
from disdel.platforms.registry import chosen
from disdel.protocol.flower import APP_FOLDER
from disdel.protocol.keys import RunKeys
from disdel.settings import Settings
from disdel.types import RunReport
from disdel.types.events import Listener, PlatformReady
from disdel.types.flower import FlowerJob

ACTION = "flowerClient"


async def flower(
    job: FlowerJob, settings: Settings, emit: Listener, *, output: int | None = None
) -> tuple[RunReport, RunFolder]:
    """Run a Flower app to its end; the report is saved in a folder of its own.

    Args:
        job: what the user asked for.
        settings: where it runs.
        emit: told of every event.
        output: the descriptor that what the ServerApp prints goes to; None for standard output.

    Raises:
        UsageError: Flower would not run the app, or it cannot be run here; nothing is left.
        AppFailed: the app's own code has failed.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    _check_flower()
    check_run_dir(settings.run_dir)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(output))
        # Flower's id of the run is new, and those of its nodes are the same in each.
        app = await server.describe(job, secrets.token_hex(8))
        opened = await stack.enter_async_context(open_session(settings, emit))
        emit(PlatformReady(description=opened.description))
        session = await with_nodes(opened, settings, emit)
        places = places_of(session, settings, job, len(app.nodes))
        sizes = places.all[0].sizes
        spec = ActionSpec(
            name=ACTION,
            image=places.all[0].image,
            code=build_bundle(ACTION, files=_files(app)),
            memory_mb=sizes.fitting(FIRST_MB),
            timeout_s=sizes.timeout_s,
        )
        check_code("the action with the app's files", spec.code, session.capacity)
        peak_mb = read_peak(chosen(settings).address(settings), app.fab_id)
        start = start_of(job.memory_mb, sizes, peak_mb)
        folder = create_run_folder(settings.run_dir, "flower", app.fab_id.rpartition("/")[2])
        lease = stack.enter_context(claimed(folder.path))
        keys = RunKeys.of_turn(folder.run, lease.holder.token)
        invoker = Invoker(session, f"disdel-{folder.run}", keys, folder, emit, started_s)
        run = FlowerRun(job, settings, server, app, places, start, spec, invoker)
        report = await run_to_report(
            invoker,
            run.execute,
            lambda: run.report(time.monotonic() - started_s),
            lease=lease,
            keep=settings.keep,
        )
    return report, folder


def _check_flower() -> None:
    """Refuse where there is no Flower to ask what an app is.

    Raises:
        UsageError: it is.
    """
    if importlib.util.find_spec("flwr") is None:
        raise UsageError(
            "this Python has no Flower (flwr), which runs the app: pip install 'disdel[flower]' "
            "where the app's own packages are, and use the disdel of that environment"
        )


def _files(app: AppFacts) -> dict[str, bytes]:
    """The app's files, by their path in a bundle."""
    with zipfile.ZipFile(io.BytesIO(app.files)) as archive:
        return {f"{APP_FOLDER}/{name}": archive.read(name) for name in archive.namelist()}
