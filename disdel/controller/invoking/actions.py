"""The actions of a run's package, in as many memory sizes as the run comes to need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from disdel.controller.invoking.background import background
from disdel.controller.invoking.berths import Berth
from disdel.controller.invoking.invoker import Call, Invoker, ReplyT
from disdel.controller.invoking.recovery import Attempt, after_loss
from disdel.controller.invoking.signed_code import signed_action
from disdel.errors import ActivationFailed, EndpointLost
from disdel.platforms.base import ActionSpec, Platform
from disdel.protocol.signing import Signer
from disdel.types.events import Noted
from openwhisk_local.machine.on_disk import OnDisk

T = TypeVar("T")


@dataclass(slots=True)
class SizedAction:
    """One action that exists with the limits of `spec` and, once asked for, with others.

    Attributes:
        platform: where it is.
        package: in which.
        spec: the action as it was planned; its code is on disk from then on, and not here.
        timeout_max_s: the longest time limit that it may have.
        creating: where creations that are under way are noted.
        signer: of the requests to it, by the endpoint where it is.
    """

    platform: Platform
    package: str
    spec: ActionSpec
    timeout_max_s: float
    creating: set[asyncio.Task[None]] = field(default_factory=set)
    signer: Callable[[str | None], Signer | None] = lambda _: None
    _created: dict[tuple[int, str], asyncio.Task[None]] = field(default_factory=dict)
    _code: OnDisk = field(init=False)

    def __post_init__(self) -> None:
        # Megabytes, which are wanted again only where another size is.
        self._code = OnDisk(self.spec.code)
        self.spec = replace(self.spec, code=b"")

    async def of_size(
        self,
        memory_mb: int,
        *,
        generation: int = 0,
        longest: bool = False,
        berth: Berth | None = None,
    ) -> ActionSpec:
        """The action with this memory limit, without its code; created by the first who asks.

        Args:
            memory_mb: the limit.
            generation: of its package (see `Invoker`); it is created in each.
            longest: with the longest time limit.
            berth: where it is to be, and with which limits there.
        """
        spec, timeout_max_s = self.spec, self.timeout_max_s
        if berth is not None and berth.endpoint is not None:
            memory_mb = berth.size_mb(memory_mb)
            timeout_max_s = berth.timeout_max_s or timeout_max_s
            spec = replace(
                spec,
                name=f"{spec.name}@{berth.endpoint}",
                endpoint=berth.endpoint,
                memory_mb=berth.size_mb(spec.memory_mb),
                timeout_s=min(berth.timeout_s or spec.timeout_s, timeout_max_s),
            )
        if memory_mb != spec.memory_mb:
            spec = replace(spec, name=f"{spec.name}-{memory_mb}", memory_mb=memory_mb)
        if longest and spec.timeout_s < timeout_max_s:
            name = f"{spec.name}-{timeout_max_s:g}s"
            spec = replace(spec, name=name, timeout_s=timeout_max_s)
        key = (generation, spec.name)
        if key not in self._created:
            whole = replace(spec, code=self._code.read())
            made = signed_action(whole, self.signer(spec.endpoint))
            create = self.platform.create_action(self.package, made)
            task = self._created[key] = background(create)
            self.creating.add(task)
            task.add_done_callback(self.creating.discard)
        # Shielded: who waits may be cancelled, and others wait for the same action.
        await asyncio.shield(self._created[key])
        return spec


async def persist(
    send: Callable[[Attempt], Awaitable[T]],
    attempt: Attempt,
    *,
    ceiling_mb: Callable[[], int],
    batch_size: int,
    moved: Callable[[Attempt, ActivationFailed], None],
) -> T:
    """Send until it ends well, after every loss in the way that `recovery` finds promising.

    Args:
        send: runs an activation in the way of an attempt.
        attempt: the first way.
        ceiling_mb: the most memory that the action can have now.
        batch_size: samples of a step.
        moved: told of every further attempt, and of the loss before it.

    Raises:
        ActivationFailed: it did not end well, and nothing is left to try.
    """
    while True:
        try:
            return await send(attempt)
        except ActivationFailed as failure:
            following = after_loss(attempt, failure, ceiling_mb=ceiling_mb(), batch_size=batch_size)
            if following is None:
                raise
            moved(following, failure)
            attempt = following


async def call_persistently(
    action: SizedAction,
    invoker: Invoker,
    call: Call,
    reply_type: type[ReplyT],
    *,
    ceiling_mb: int,
    berth: Callable[[], Berth | None] = lambda: None,
) -> ReplyT:
    """Run an activation that stands alone, again if it is lost; `call` has its first size.

    `berth` says where it is run now. Where that endpoint does not answer, it is run elsewhere.

    Raises:
        ActivationFailed: it failed in a way that another attempt would not mend.
    """

    async def send(attempt: Attempt) -> ReplyT:
        spec = await action.of_size(
            attempt.memory_mb,
            generation=invoker.generation,
            longest=attempt.longest,
            berth=berth(),
        )
        sized = replace(
            call,
            action=spec.name,
            endpoint=spec.endpoint,
            memory_mb=spec.memory_mb,
            timeout_s=spec.timeout_s,
            attempt=attempt.losses,
        )
        return await invoker.call(sized, reply_type)

    def moved(following: Attempt, failure: ActivationFailed) -> None:
        size = f"{following.memory_mb} MB"
        invoker.emit(
            Noted(message=f"{call.task} was lost ({failure.outcome}); it runs again with {size}")
        )

    while True:
        at = berth()
        try:
            return await persist(
                send,
                Attempt(memory_mb=call.memory_mb),
                ceiling_mb=lambda: ceiling_mb,
                batch_size=1,
                moved=moved,
            )
        except ActivationFailed as failure:
            if failure.cause != EndpointLost.kind or berth() == at:
                raise
