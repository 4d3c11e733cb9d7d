"""Each endpoint of several made ready for runs, as far as that is disdel's to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.planning.checks import Check
from disdel.errors import DisdelError
from disdel.platforms.registry import chosen
from disdel.settings import Settings

# Whoever waits for an endpoint to be ready does not wait long.
_PATIENCE_S = 10.0


async def deploy_at_endpoints(settings: Settings) -> list[Check]:
    """Make at each endpoint what runs have to find there; what one lacks keeps nothing from others.

    Raises:
        UsageError: the settings name no endpoints.
    """
    settings = replace(settings, patience_network_s=min(settings.patience_network_s, _PATIENCE_S))
    parts = chosen(settings).parts(settings)
    code = await asyncio.to_thread(build_bundle, "collectWeights")
    done = []
    # In turn: platforms that are started for it share this machine.
    for name, provider in parts:
        try:
            done.append(Check(name, True, await provider.deploy(settings, code)))
        except DisdelError as error:
            done.append(Check(name, False, str(error)))
    return done
