"""A package for the time of a question to a platform's containers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from disdel.controller.runs.places import Place
from disdel.controller.runs.probes import recorded
from disdel.controller.session import Session


@asynccontextmanager
async def probe_package(session: Session, purpose: str) -> AsyncIterator[str]:
    """The name of a package that may be made inside, and is removed at the end.

    Raises:
        DisdelError: the platform did not remove it; the next session tries again.
    """
    name = f"{purpose}-{secrets.token_hex(4)}"
    place = Place(
        platform=session.platform_name,
        address=session.lasting_address,
        insecure=session.insecure,
        store=None,
    )
    package = f"disdel-{name}"
    with recorded(name, place) as removed:
        try:
            yield package
        finally:
            await session.platform.remove_package(package)
            removed()
