"""One run's invocations: run an action, keep its record and its log, turn failures into errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

import disdel
from disdel.controller.invoking.activation_logs import ActivationLogs
from disdel.controller.invoking.claims import Claims
from disdel.controller.invoking.journal import Journal
from disdel.controller.invoking.measured import Measured, measured_of
from disdel.controller.invoking.needs import needs_of
from disdel.controller.invoking.outcomes import (
    STORE_AWAY,
    activation_failed,
    error_kind,
    explained,
    failure_of,
    odd_answer,
)
from disdel.controller.invoking.settling import Settling
from disdel.controller.runs.run_folder import RunFolder
from disdel.controller.session import Session
from disdel.errors import (
    ActivationFailed,
    AggregationError,
    DataGone,
    EndpointLost,
    PlatformError,
    PlatformLost,
    PlatformRejected,
    StoreError,
    StoreLost,
    UsageError,
)
from disdel.protocol import client_messages, memory_grant, messages
from disdel.protocol.flower import FlowerReply
from disdel.protocol.keys import RunKeys
from disdel.protocol.signing import Signer
from disdel.store.inline_host import check_size
from disdel.store.lending import Needs
from disdel.types import ActivationRecord, Outcome, Times
from disdel.types.events import ActivationEnded, Listener, Noted, WorkerProgress

# The address may be one that containers do not reach, and they have no user to ask.
_FIRST_PATIENCE_S = 15.0
_NOT_FOUND = 404
# Of a request that is complete but for its invocation and signature.
_ADDED_BYTES = 300
_POLL_S = 0.02
_BUILDS_NETWORK = frozenset({"train", "score"})
# Of what is wrong with an answer, which may be of any length.
_ODD_SHOWN = 200
# What an activation says whose copy was faster, or whose run is over.
_CANCELLED = "cancelled"
# The kinds of an action's errors behind which the store may be.
_OF_THE_STORE = frozenset({*STORE_AWAY, StoreError.kind, AggregationError.kind, _CANCELLED})

P = ParamSpec("P")
T = TypeVar("T")
ReplyT = TypeVar(
    "ReplyT",
    messages.TrainReply,
    client_messages.TrainClientsReply,
    client_messages.SecureReply,
    messages.ScoreReply,
    messages.CollectReply,
    messages.EvaluateReply,
    FlowerReply,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One invocation: the action, its request, and where it belongs in the report.

    `image` is what the action's container is of, None where the platform has it by itself, and
    `endpoint` where the action is, of a platform that is several.
    """

    action: str
    endpoint: str | None = None
    image: str | None = None
    request: object
    task: str
    worker: int | None
    client: int | None = None
    clients: tuple[int, ...] = ()
    round: int
    segment: int = 0
    attempt: int = 0
    memory_mb: int
    timeout_s: float


@dataclass(slots=True)
class Invoker:
    """Invokes the actions of one package.

    Attributes:
        session: the platform and the store.
        package: where the actions are.
        keys: of this run, in the store.
        folder: the run's, where the logs go.
        emit: told of every activation that has ended.
        started_s: when the run began, by `time.monotonic`; now, where nobody says.
        journal: what has ended.
        memory_secret: what activations are given the right to grow by, on Kubernetes; else None.
        logs: of what has ended.
        store_url: the store as actions are given it.
        framework: the version of what has described the network here, by its runtime, where the
            network is of the user's own; containers must have the same, to its second number.
        generation: how often the platform has lost the package, and it was made again.
        creating: creations of actions that are under way.
    """

    session: Session
    package: str
    keys: RunKeys
    folder: RunFolder
    emit: Listener
    started_s: float = field(default_factory=time.monotonic)
    journal: Journal = field(default_factory=Journal)
    memory_secret: bytes | None = field(default_factory=memory_grant.find_secret)
    framework: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    creating: set[asyncio.Task[None]] = field(default_factory=set)
    store_url: str = field(init=False)
    _writing: set[asyncio.Future[Any]] = field(default_factory=set)
    logs: ActivationLogs = field(init=False)
    _claims: Claims = field(init=False)
    _settling: Settling = field(init=False)
    # The endpoints whose actions have found the store; None is where there is one.
    _reached: set[str | None] = field(default_factory=set, init=False)
    _deploying: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        session = self.session
        self.store_url = session.store_url
        self.logs = ActivationLogs(session.platform, self.folder, self.emit)
        self._claims = Claims(session.platform, session.store, self.keys)
        self._settling = Settling(session.capacity.settle_s)

    def signer(self, endpoint: str | None = None) -> Signer | None:
        """What signs the run's requests to an endpoint; None where nothing is signed."""
        return self.session.signer(self.keys.run, endpoint)

    async def call(self, call: Call, reply_type: type[ReplyT]) -> ReplyT:
        """The reply of an action.

        Raises:
            ActivationFailed: the activation ended in an error.
        """
        await self._settling.free(call.action)
        submitted_s = time.monotonic()
        record = await self._invoke(call)
        times = self._times(record, submitted_s)
        used_mb = None
        if record.ending != "success" and call.worker is not None and not error_kind(record):
            # It did not end by itself.
            used_mb = (await self.progress()).get(call.worker, _UNKNOWN).memory_mb
        failure = failure_of(
            record,
            memory_mb=call.memory_mb,
            last_used_mb=used_mb,
            image=call.image,
            reached_store=call.endpoint in self._reached,
            names=self.session.capacity.names,
        )
        if failure is not None:
            logs = await self.logs.of_failed(record.id, call.worker)
            failure = explained(failure, logs, memory_mb=call.memory_mb)
            if failure.cause != _CANCELLED:
                self._note(call, record, failure.outcome, times, Measured())
            if failure.cause in _OF_THE_STORE:
                gone = await asyncio.to_thread(self.why_gone, failure.reason)
                if gone is not None and not failure.lost:
                    raise gone
            raise activation_failed(record, failure, call.action, logs)
        self._reached.add(call.endpoint)
        fields = record.result if isinstance(record.result, dict) else {}
        try:
            reply = messages.from_json(reply_type, fields)
        except UsageError as error:
            self._note(call, record, "error", times, Measured())
            raise odd_answer(call.action, str(error)[:_ODD_SHOWN], record.id) from error
        outcome: Outcome = "ok"
        if isinstance(
            reply, (messages.TrainReply, client_messages.TrainClientsReply, messages.EvaluateReply)
        ):
            outcome = reply.outcome
        self._note(call, record, outcome, times, measured_of(call.request, reply))
        self.logs.fetch(record.id, call.worker)
        return reply

    async def _invoke(self, call: Call) -> ActivationRecord:
        """The record of a call's activation.

        Raises:
            ActivationFailed: the platform had lost the action, and its package is there again; or
                its endpoint, of several, does not answer, refuses, or answers no record.
        """
        generation = self.generation
        invocation = secrets.token_hex(8)
        needs = needs_of(call.request, self.keys, invocation, call.timeout_s)
        lent = await self._lent(needs, call.timeout_s)
        signer = self.signer(call.endpoint)
        arguments = {
            # Of a signed request nothing may come from elsewhere.
            **(self._inherited(call.endpoint) if signer is not None else {}),
            **messages.to_json(call.request),
            **self._versions(call),
            "patience_s": self._patience_s(call.endpoint),
            **lent,
        }
        if self.memory_secret is not None:
            arguments[memory_grant.ARGUMENT] = memory_grant.issue(self.memory_secret)
        if lent:
            check_size(arguments, self.session.capacity.payload_bytes - _ADDED_BYTES)
        try:
            with self._settling.running(call.action):
                record = await self._claims.invoke(
                    self.package,
                    call.action,
                    arguments,
                    invocation=invocation,
                    timeout_s=call.timeout_s,
                    signer=signer,
                )
                if not self.session.store.lends:
                    return record
                return await asyncio.to_thread(self._taken, record, needs)
        except EndpointLost as lost:
            raise ActivationFailed(
                str(lost),
                activation_id="",
                outcome="error",
                # Run again there, it would end the same.
                lost=False,
                cause=lost.kind,
                reason=str(lost),
            ) from lost
        except PlatformLost:
            raise
        except PlatformError as error:
            rejected = isinstance(error, PlatformRejected)
            if not isinstance(error, PlatformRejected) or error.status != _NOT_FOUND:
                if call.endpoint is None:
                    raise
                # What one of several endpoints says is no word of the others.
                raise ActivationFailed(
                    f"{call.action} failed: {error}",
                    activation_id="",
                    outcome="error",
                    lost=not rejected,
                    reason=str(error),
                ) from error
            async with self._deploying:
                if self.generation == generation:
                    await self.deploy()
                    self.generation += 1
                    self.emit(Noted(message=f"{self.package} was lost, and is made again"))
            raise ActivationFailed(
                f"{call.action} is not there any more: {error}",
                activation_id="",
                outcome="error",
                lost=True,
            ) from error

    async def _lent(self, needs: Needs, timeout_s: float) -> dict[str, object]:
        """What the arguments of an activation must have to reach what it needs in the store.

        Raises:
            StoreError: it cannot be lent that, or nobody writes it.
        """
        store, end_s = self.session.store, time.monotonic() + timeout_s
        if not store.lends:
            return {}
        while missing := await asyncio.to_thread(store.missing, needs):
            if time.monotonic() > end_s:
                raise StoreError(f"waited for {min(missing)}, which nobody has written")
            await asyncio.sleep(_POLL_S)
        return await asyncio.to_thread(store.lend, needs)

    def _taken(self, record: ActivationRecord, needs: Needs) -> ActivationRecord:
        """A record without what its reply has brought for the store, which has it then."""
        if record.ending != "success" or not isinstance(record.result, dict):
            return record
        try:
            return replace(record, result=self.session.store.take(dict(record.result), needs))
        except StoreLost:
            raise
        except StoreError as error:
            return replace(record, ending="platform-error", result={"error": f"{error}."})

    async def deploy(self) -> None:
        """Make the package, whose parameters every action inherits."""
        await self.session.platform.create_package(self.package, self._inherited())

    def _inherited(self, endpoint: str | None = None) -> dict[str, object]:
        common = messages.Common(
            v=messages.WIRE_VERSION,
            run=self.keys.run,
            store=self.session.store_url_at(endpoint, self.store_url),
            env=dict(self.session.action_env),
            versions={"disdel": disdel.__version__},
        )
        return messages.to_json(common)

    def _versions(self, call: Call) -> dict[str, object]:
        """What an activation that builds the network must have besides what all must."""
        if not self.framework or call.task not in _BUILDS_NETWORK:
            return {}
        return {"versions": {"disdel": disdel.__version__, **self.framework}}

    def why_gone(self, reason: str) -> DataGone | None:
        """What may be behind data of the run that is missing, or None where nothing shows.

        Raises:
            StoreLost: the store does not answer.
        """
        store, evicts = self.session.store, self.session.examination.evicts
        if store.get_field(self.keys.open, RunKeys.WIRE) is None:
            return DataGone(
                f"{store.patience.server} has lost the data of this run ({reason}): it was "
                "started again without what it held, or emptied"
            )
        if evicts is not None:
            return DataGone(
                f"{reason}. Redis at {store.address} removes keys when it is full "
                f"(maxmemory-policy {evicts}): CONFIG SET maxmemory-policy noeviction"
            )
        return None

    def _patience_s(self, endpoint: str | None) -> float:
        """How long an activation should wait for the store: little while none there has reached it.

        Of several endpoints each has an address of its own, or a firewall.
        """
        patience_s = self.session.patience_s
        return patience_s if endpoint in self._reached else min(patience_s, _FIRST_PATIENCE_S)

    def _times(self, record: ActivationRecord, submitted_s: float) -> Times:
        """The way of an activation whose record has just come.

        The platform's clock may differ from this one, so the start that it reports counts only as
        far as the activation then lies between what was seen here.
        """
        submitted_ms = round((submitted_s - self.started_s) * 1000)
        received_ms = round((time.monotonic() - self.started_s) * 1000)
        began_ms = (time.time() - time.monotonic() + self.started_s) * 1000
        latest_ms = max(submitted_ms, received_ms - record.duration_ms)
        started_ms = min(max(submitted_ms, round(record.start_ms - began_ms)), latest_ms)
        return Times(submitted_ms=submitted_ms, started_ms=started_ms, received_ms=received_ms)

    def _note(
        self,
        call: Call,
        record: ActivationRecord,
        outcome: Outcome,
        times: Times,
        measured: Measured,
    ) -> None:
        activation = self.journal.note(
            record,
            action=call.action,
            endpoint=call.endpoint,
            task=call.task,
            worker=call.worker,
            client=call.client,
            clients=call.clients,
            round_number=call.round,
            segment=call.segment,
            attempt=call.attempt,
            memory_mb=call.memory_mb,
            outcome=outcome,
            times=times,
            measured=measured,
        )
        self.emit(ActivationEnded(activation=activation))

    async def write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work that writes to the store, in a thread, of which `stop_writing` knows."""
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(None, partial(work, *args, **kwargs))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        # A thread goes on where its task is cancelled.
        return await asyncio.shield(writing)

    async def stop_writing(self) -> None:
        """Return when nothing more is written to the store, so that it can be emptied."""
        self.session.store.stop_writing(self.keys.prefix)
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def progress(self) -> dict[int, WorkerProgress]:
        """What each worker last said of itself; empty when the store does not answer."""
        try:
            said = await asyncio.to_thread(self.session.store.fields, self.keys.progress)
        except StoreError:
            return {}
        found = {}
        for name, text in said.items():
            # Losing a line of the live view loses nothing.
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                worker = int(name)
                found[worker] = WorkerProgress.from_fields(worker, json.loads(text))
        return found


_UNKNOWN = WorkerProgress(worker=-1, state="unknown")


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `coroutines` run together; the first error cancels the rest and is raised."""
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
