"""Ending a run from outside: interrupting its controller, or cleaning up after a dead one."""

from __future__ import annotations

import asyncio

from disdel import config
from disdel.config import ApiAccess
from disdel.controller.run_folder import RunFolder
from disdel.controller.running import (
    ControllerRecord,
    forget_controller,
    interrupt,
    read_controller,
)
from disdel.controller.settings import Settings
from disdel.errors import UsageError
from disdel.platforms.embedded import find_running
from disdel.platforms.openwhisk import OpenWhisk
from disdel.store.keys import RunKeys
from disdel.store.redis_store import RedisStore


async def stop_run(folder: RunFolder, settings: Settings) -> str:
    """End a run and remove what it has created, whether or not its controller lives.

    Returns:
        What was done, as a sentence.

    Raises:
        UsageError: the run has ended, or a server that it used cannot be reached with `settings`.
        StillRunning: it could not be interrupted.
    """
    controller = read_controller(folder.path)
    if controller is None:
        raise UsageError(f"run {folder.run} is not running")
    if controller.alive:
        await asyncio.to_thread(interrupt, folder.path, controller)
        return f"stopped {folder.run}"
    await _remove_leftovers(folder, controller, settings)
    # As it reads now, for those who read the file themselves.
    folder.write_report(folder.read_report())
    forget_controller(folder.path)
    return f"the controller of {folder.run} was dead; removed what it had left"


async def _remove_leftovers(
    folder: RunFolder, controller: ControllerRecord, settings: Settings
) -> None:
    """Remove package and keys where their servers outlive the controller; others died with it."""
    if controller.apihost is not None:
        platform = OpenWhisk(_access(controller, controller.apihost, settings))
        try:
            await platform.remove_package(f"disdel-{folder.run}")
        finally:
            await platform.close()
    if controller.redis is not None:
        store = RedisStore(controller.redis)
        try:
            await asyncio.to_thread(store.delete_prefix, RunKeys(folder.run).prefix)
        finally:
            store.close()


def _access(controller: ControllerRecord, apihost: str, settings: Settings) -> ApiAccess:
    """How to reach the platform of a run; the key is not kept with it."""
    running = find_running()
    if running is not None and running.apihost == apihost:
        return running
    access = config.api_access(apihost, settings.auth, insecure=controller.insecure)
    assert access is not None
    return access
