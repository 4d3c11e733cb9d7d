"""The interface of a platform that runs actions.

All methods raise `PlatformRejected` when the platform refuses a request, with its own message, and
`ConnectionRefused` when nobody answers or the key is wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from disdel.types import ActivationRecord, Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """An action to create: a zip with a `__main__.py`.

    It runs in a container of `image`, or where that is None of the platform's own `kind`.
    """

    name: str
    code: bytes
    memory_mb: int
    timeout_s: float
    image: str | None = None
    kind: str | None = None


class Platform(ABC):
    """A place with packages of actions. Coroutines may run at the same time."""

    @abstractmethod
    async def capacity(self) -> Capacity:
        """What the platform allows, by its own word."""

    @abstractmethod
    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        """Create (or replace) a package whose parameters all of its actions inherit."""

    @abstractmethod
    async def create_action(self, package: str, action: ActionSpec) -> None:
        """Create (or replace) an action in a package."""

    @abstractmethod
    async def invoke(
        self, package: str, action: str, arguments: Mapping[str, object]
    ) -> ActivationRecord:
        """Run an action and wait until it has ended, however that is.

        A record whose status is not "success" is returned, not raised. Its logs may not be
        attached yet; see `logs`.
        """

    @abstractmethod
    async def logs(self, activation_id: str) -> tuple[str, ...]:
        """The log lines of an ended activation, oldest first; empty when there are none."""

    @abstractmethod
    async def remove_package(self, package: str) -> None:
        """Remove a package and its actions; a package that is not there is no error."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""
