"""A session that opens while something else is still being found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType

from disdel.controller.invoking.background import background
from disdel.controller.session import Session


class Opening:
    """Opens a session once: when it is asked for, or before. A context manager that closes it.

    What goes wrong with it is raised where it is asked for, and nowhere if it never is.

    Args:
        session: makes the context of the session.
    """

    def __init__(self, session: Callable[[], AbstractAsyncContextManager[Session]]) -> None:
        self._make = session
        self._loop = asyncio.get_running_loop()
        self._stack = AsyncExitStack()
        self._entering: asyncio.Task[Session] | None = None
        self._is_over = False

    def begin(self, image: str | None = None) -> None:
        """Begin to open it beside what goes on, for containers of an image; from any thread."""
        self._loop.call_soon_threadsafe(self._begin, image)

    @property
    def is_begun(self) -> bool:
        return self._entering is not None

    async def session(self) -> Session:
        """The session, once it is open. Raises as its context does."""
        self._begin()
        assert self._entering is not None
        return await self._entering

    def _begin(self, image: str | None = None) -> None:
        # A thread may be late to ask for it.
        if self._entering is None and not self._is_over:
            self._entering = background(self._enter(image))

    async def _enter(self, image: str | None) -> Session:
        session = await self._stack.enter_async_context(self._make())
        if image is not None:
            session.platform.expect(image)
        return session

    async def __aenter__(self) -> Opening:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._is_over = True
        if self._entering is not None:
            self._entering.cancel()
            await asyncio.wait([self._entering])
        return await self._stack.__aexit__(kind, error, traceback)
