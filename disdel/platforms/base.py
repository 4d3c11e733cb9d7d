"""The interface of a platform that runs actions.

All methods raise `PlatformRejected` when the platform refuses a request, with its own message,
`ConnectionRefused` when nobody has ever answered or the key is wrong, and `PlatformLost` when it
has not answered for longer than there is patience.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What an activation has left elsewhere than in its record: that it has begun, or ended."""

    activation_id: str
    ended: bool = False


LookUp: TypeAlias = Callable[[], Awaitable[Begun | None]]


async def nowhere() -> Begun | None:
    """Where activations leave nothing but their records."""
    return None


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
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        timeout_s: float = 60.0,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        """Run an action and wait until it has ended, however that is.

        A record whose status is not "success" is returned, not raised. Its logs may not be
        attached yet; see `logs`.

        An invocation whose answer got lost is looked for with `begun`, and sent again where that
        finds nothing: of two activations with the same arguments, the action itself sees to it that
        one does the work.

        Args:
            package: where the action is.
            action: its name.
            arguments: what it is called with.
            timeout_s: its time limit, by which its record is waited for.
            begun: says whether an activation has begun with these arguments.

        Raises:
            ActivationLost: it was accepted, and by its deadline there is no record.
        """

    @abstractmethod
    async def record(
        self,
        package: str,
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        """The record of an activation, waited for as `invoke` does.

        Raises:
            ActivationLost: by its deadline there is none.
            PlatformRejected: there is no such action any more (404), so there will be none.
        """

    @abstractmethod
    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:
        """The log lines of an ended activation, oldest first; empty when there are none.

        Raises:
            PlatformError: its record was not there in time.
        """

    @abstractmethod
    async def remove_package(self, package: str) -> None:
        """Remove a package and its actions; a package that is not there is no error."""

    @abstractmethod
    def hurry(self) -> None:
        """Have little patience with it from now on."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""
