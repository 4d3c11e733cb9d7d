"""What a platform is to the rest of disdel: a client of it, and what is known before there is one.

A platform is a folder here with a module `provider` whose `PROVIDER` describes it. Nobody outside
asks which platform it is: `Traits`, `Capacity` and the ending of a record say what matters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from disdel.connections.patience import Tell, tell_nobody
from disdel.platforms.prices import PUBLISHED, Price
from disdel.settings import Settings
from disdel.types import ActivationRecord, Capacity

# Where the containers of a platform reach a server on this machine: at its loopback address, at
# the address of its container engine's bridge, or nowhere.
Reach = Literal["loopback", "bridge", "nowhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """An action to create: a zip with a `__main__.py`.

    It runs in a container of `image`, or where that is None of the platform's own `kind`. All its
    invocations have `parameters`, beside the package's.
    """

    name: str
    code: bytes
    memory_mb: int
    timeout_s: float
    image: str | None = None
    kind: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What an activation has left elsewhere than in its record: that it has begun, or ended.

    `result` is what it answered, where a platform without records has had that kept.
    """

    activation_id: str
    ended: bool = False
    result: Mapping[str, object] | None = None


LookUp: TypeAlias = Callable[[], Awaitable[Begun | None]]


async def nowhere() -> Begun | None:
    """Where activations leave nothing but their records."""
    return None


class Platform(ABC):
    """A place with packages of actions. Coroutines may run at the same time.

    An action is the function `main(arguments) -> result` of its `__main__.py`, both of them JSON
    objects. It is called with its package's parameters under its arguments, and finds in its
    environment, in OpenWhisk's words, `__OW_ACTIVATION_ID` and `__OW_DEADLINE` (when it will be
    ended, ms since the epoch). A result with a key `error` is an application's error.

    A record's `ending` is one of:

    | ending | what happened |
    | --- | --- |
    | `success` | the action answered |
    | `application-error` | it ended by itself, and its result has the key `error` |
    | `out-of-memory` | the platform says that it used up its memory |
    | `time-limit` | it was ended at its time limit |
    | `start-time-limit` | the same, before the action ran |
    | `not-started` | its code did not start; its log may say why |
    | `image-missing` | its image cannot be had |
    | `no-container` | it got no container, for want of room or of its image |
    | `vanished` | its container ended, and nobody says why |
    | `platform-error` | the platform failed it |

    Where it is not `success`, the result is `{"error": REASON}`, in the platform's own words or
    the action's. That a platform takes no more invocations for now is no ending: `invoke` waits.

    All methods raise `PlatformRejected` when the platform refuses a request, with its own message,
    `ConnectionRefused` when nobody has ever answered or the key is wrong, and `PlatformLost` when
    it has not answered for longer than there is patience.

    Attributes:
        keeps_records: whether an activation's record is there after its answer got lost. Where it
            is not, activations leave what they answer in the store.
    """

    keeps_records: ClassVar[bool] = True

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

        A record whose ending is not "success" is returned, not raised. Its logs may not be
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a platform is like, whatever its limits are set to: asked for in place of its name.

    Attributes:
        host_packages: actions run on this machine's processor, by the Python that runs here and
            with the packages that are installed here, whatever their image or kind.
        proxy_mb: what the platform itself keeps in a container of one of its own kinds, beside the
            action.
    """

    host_packages: bool = False
    proxy_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A platform that is there for a session.

    Attributes:
        platform: its client.
        description: of it, for people.
        address: what it is found by later, where it outlives the session; None where it ends.
        insecure: whether its certificate is not checked.
    """

    platform: Platform
    description: str
    address: str | None = None
    insecure: bool = False


class Provider(ABC):
    """A platform before it is reached: what is known of it, and how settings lead to one.

    Attributes:
        name: by which users choose it and records name it.
        traits: what it is like.
        prices: what activations cost there, or in comparable places.
        options: the dataclass of the options that it alone has, which `platforms.options` reads;
            None where it has none.
    """

    name: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    prices: ClassVar[tuple[Price, ...]] = PUBLISHED
    options: ClassVar[type | None] = None

    @abstractmethod
    def open(
        self, settings: Settings, tell: Tell = tell_nobody
    ) -> AbstractAsyncContextManager[Opened]:
        """The platform that `settings` lead to; what was started for it ends with the context.

        Args:
            settings: lead to it.
            tell: told of outages.

        Raises:
            UsageError: the settings do not lead to one.
            PlatformError: it did not start.
        """

    @abstractmethod
    async def offered(self, settings: Settings) -> Capacity:
        """What the platform of `settings` would allow; nothing is started.

        Raises:
            ConnectionRefused: it does not answer or refuses the key.
        """

    @abstractmethod
    def address(self, settings: Settings) -> str | None:
        """What tells the platform of `settings` from others in what is remembered of them.

        None for what is remembered of this machine.

        Raises:
            UsageError: the settings do not lead to one.
        """

    @abstractmethod
    async def reach(self, settings: Settings) -> Reach:
        """Where its containers reach a server on this machine.

        Raises:
            ConnectionRefused: it does not answer or refuses the key.
        """

    @abstractmethod
    def find(self, address: str, settings: Settings, *, insecure: bool) -> Platform | None:
        """The client of a platform that was opened before; None where it is gone with all it held.

        Args:
            address: as `Opened` told it.
            settings: have what is kept nowhere, such as the key.
            insecure: as `Opened` told it.
        """
