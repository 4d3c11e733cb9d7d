"""What a platform is to the rest of disdel: a client of it, and what is known before there is one.

A platform is a folder here with a module `provider` whose `PROVIDER` describes it. Nobody outside
asks which platform it is: `Traits`, `Capacity` and the ending of a record say what matters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import UsageError
from disdel.platforms.endpoints import Endpoints
from disdel.platforms.prices import PUBLISHED, Price
from disdel.settings import Settings, declared
from disdel.types import ActivationRecord, Capacity

# Where the containers of a platform reach a server on this machine: at its loopback address, at
# the address of its container engine's bridge, or nowhere.
Reach = Literal["loopback", "bridge", "nowhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """An action to create: a zip with a `__main__.py`.

    It runs in a container of `image`, or where that is None of the platform's own `kind`. All its
    invocations have `parameters`, beside the package's. On a platform that is several, it is at
    `endpoint`, and its name is no other endpoint's.
    """

    name: str
    code: bytes
    memory_mb: int
    timeout_s: float
    image: str | None = None
    kind: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    endpoint: str | None = None


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

    def answers(self, endpoint: str) -> bool:  # noqa: ARG002 - there is one
        """Whether an endpoint has answered when it was asked last, of a platform that is several.

        To one that has not, `invoke` raises `EndpointLost` at once, until it answers again.
        """
        return True

    def expect(self, image: str) -> None:  # noqa: B027 - most cannot be told
        """Say that containers of this image (or kind) will be wanted soon; must not wait."""

    def leave(self) -> None:  # noqa: B027 - most go on
        """Say that a session asks nothing more of it: one of that session's own may end now."""

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
        runs_images: an action may be of an image; else all that it needs is in its zip.
        has_packages: the library and what it imports are deployed there; of an action it is sent
            what is a run's own.
        images_by: what its user says to have it run images; "" where nothing helps.
        proxy_mb: what the platform itself keeps in a container of one of its own kinds, beside the
            action.
    """

    host_packages: bool = False
    runs_images: bool = True
    has_packages: bool = False
    images_by: str = ""
    proxy_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A platform that is there for a session.

    Attributes:
        platform: its client.
        description: of it, for people.
        address: what it is found by later, where it outlives the session; None where it ends.
        insecure: whether its certificate is not checked.
        endpoints: what it is made of, where it is several.
    """

    platform: Platform
    description: str
    address: str | None = None
    insecure: bool = False
    endpoints: Endpoints | None = None


class Provider(ABC):
    """A platform before it is reached: what is known of it, and how settings lead to one.

    Attributes:
        name: by which users choose it and records name it.
        traits: what it is like.
        prices: what activations cost there, or in comparable places.
        options: the dataclass of the options that it alone has, which `platforms.options` reads;
            None where it has none.
        reads: those of the settings `apihost`, `auth` and `insecure` that it goes by.
    """

    name: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    prices: ClassVar[tuple[Price, ...]] = PUBLISHED
    options: ClassVar[type | None] = None
    reads: ClassVar[frozenset[str]] = frozenset()

    def of(self, settings: Settings) -> Provider:  # noqa: ARG002 - it is the same for all
        """This one, with what depends on settings.

        Raises:
            UsageError: the settings do not lead to one.
        """
        return self

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

    def ahead(
        self,
        settings: Settings,  # noqa: ARG002 - most start nothing
        image: str | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Provider]:
        """This provider, for one session, with what it would start for that begun already.

        Args:
            settings: of the session.
            image: of which containers will be wanted, where that is known.

        Raises:
            UsageError: the settings do not lead to one.
        """
        return nullcontext(self)

    def foreseen(self, settings: Settings) -> Capacity | None:  # noqa: ARG002 - most begin nothing
        """What a platform that was begun `ahead` will allow; None where none was."""
        return None

    def expect(self, image: str) -> None:  # noqa: B027 - most begin nothing
        """Tell one that was begun `ahead`, before it is open, what `Platform.expect` tells it."""

    async def offered(self, settings: Settings) -> Capacity:
        """What the platform of `settings` would allow; by default it is opened, and asked.

        Raises:
            ConnectionRefused: it does not answer or refuses the key.
        """
        async with self.open(settings) as opened:
            return await opened.platform.capacity()

    def address(self, settings: Settings) -> str | None:  # noqa: ARG002 - there is one
        """What tells the platform of `settings` from others in what is remembered of them.

        None for what is remembered of this machine; by default its name.

        Raises:
            UsageError: the settings do not lead to one.
        """
        return self.name

    async def reach(self, settings: Settings) -> Reach:  # noqa: ARG002 - here
        """Where its containers reach a server on this machine; by default as any process does.

        Raises:
            ConnectionRefused: it does not answer or refuses the key.
        """
        return "loopback"

    def at(self, settings: Settings, *, address: str | None, key: str | None) -> Settings:
        """`settings` that lead to the platform at an address, with a key.

        Here an address is an option that the platform alone has: `address`, `url` or `endpoint`.

        Raises:
            UsageError: it is found without one, or has another already.
        """
        known = () if self.options is None else [one.name for one in declared(self.options)]
        option = next((name for name in ("address", "url", "endpoint") if name in known), None)
        for what, is_odd in (("address", address and option is None), ("key", key)):
            if is_odd:
                raise UsageError(f"platform {self.name} takes no {what}: leave it out")
        if address is not None and any(
            pair.startswith(f"{option}=") for pair in settings.platform_options
        ):
            raise UsageError(f"address and {option} are the same: leave one of them out")
        pairs = () if address is None else (f"{option}={address}",)
        return replace(settings, platform_options=(*settings.platform_options, *pairs))

    def price(self, settings: Settings) -> Price | None:  # noqa: ARG002 - it is the same for all
        """The list price of the platform of `settings`; None where it has none of its own."""
        # Prices of comparable places are none of this one.
        return None if self.prices is PUBLISHED or not self.prices else self.prices[0]

    def parts(self, settings: Settings) -> tuple[tuple[str, Provider], ...]:  # noqa: ARG002
        """Each endpoint of the platform of `settings` by itself, by name; none where it is one."""
        return ()

    async def deploy(self, settings: Settings, code: bytes) -> str:  # noqa: ARG002
        """Make what runs have to find on the platform of `settings`, or see that it is there.

        Args:
            settings: lead to it.
            code: a zip as runs bring theirs, of this version of the library.

        Returns:
            What was made or found, as a sentence.

        Raises:
            DisdelError: it does not answer, or something lacks that disdel cannot make.
        """
        async with self.open(settings) as opened:
            await opened.platform.capacity()
        return "it answers; nothing to deploy: each run brings its own actions"

    async def endpoints(self, settings: Settings) -> Endpoints | None:  # noqa: ARG002 - it is one
        """What the platform of `settings` is made of, where it is several; nothing is started."""
        return None

    def find(
        self,
        address: str,  # noqa: ARG002 - by default it is gone with the session
        settings: Settings,  # noqa: ARG002
        *,
        insecure: bool,  # noqa: ARG002
    ) -> Platform | None:
        """The client of a platform that was opened before; None where it is gone with all it held.

        Args:
            address: as `Opened` told it.
            settings: have what is kept nowhere, such as the key.
            insecure: as `Opened` told it.
        """
        return None
