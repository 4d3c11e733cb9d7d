"""A run of a Flower app while it goes on, and what is told of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.invoker import Invoker
from disdel.errors import AppFailed
from disdel.flower.courier import LOAD, Courier, Node
from disdel.flower.mailbox import Letter, Mailbox, answer
from disdel.flower.places import Places
from disdel.flower.server import AppFacts, Server
from disdel.flower.sizing import Start, keep_peak
from disdel.platforms.base import ActionSpec
from disdel.platforms.registry import chosen
from disdel.settings import Settings, entries
from disdel.settings.settings import NOT_OF_FLOWER
from disdel.types import RunReport
from disdel.types.events import FlowerPlanned
from disdel.types.flower import FlowerJob, FlowerReport
from disdel.types.words import counted


class FlowerRun:
    """One run of an app: what its ServerApp says goes to activations, and their replies back.

    Args:
        job: what the user asked for.
        settings: where it runs.
        server: the ServerApp's process.
        app: what it has told of the app.
        places: where its messages can be worked on.
        start: what they are to begin with.
        spec: the ClientApp's action.
        invoker: runs activations.
    """

    def __init__(
        self,
        job: FlowerJob,
        settings: Settings,
        server: Server,
        app: AppFacts,
        places: Places,
        start: Start,
        spec: ActionSpec,
        invoker: Invoker,
    ) -> None:
        self._job = job
        self._settings = settings
        self._server = server
        self._app = app
        self._start = start
        self._invoker = invoker
        self._basis = start.basis
        self._mailbox = Mailbox()
        self._places = places
        self._courier = Courier(
            invoker=invoker,
            places=places,
            actions={
                place.name: SizedAction(
                    invoker.session.platform,
                    invoker.package,
                    replace(spec, memory_mb=start.memory_mb, image=place.image),
                    timeout_max_s=place.sizes.timeout_s,
                    creating=invoker.creating,
                    signer=invoker.signer,
                )
                for place in places.all
            },
            client_app=app.client_app,
            flwr=app.flwr,
            nodes=[
                Node(id=node, context_key=invoker.keys.flower("context", f"{partition}:first"))
                for partition, node in enumerate(app.nodes)
            ],
            memory_mb=start.memory_mb,
        )

    async def execute(self) -> None:
        """Let the ServerApp run, and its messages be answered, until it ends.

        Raises:
            AppFailed: it failed, the ClientApp cannot be loaded, or no node has ever answered.
            DisdelError: platform or store are lost.
        """
        await self._stage_contexts()
        await self._server.send({"op": "start"})
        try:
            await self._serve()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self._check_answers()
        self._keep_peak()

    async def _stage_contexts(self) -> None:
        store = self._invoker.session.store
        for node, context in zip(self._courier.nodes, self._app.contexts, strict=True):
            await self._invoker.write(store.put, node.context_key, bytes.fromhex(context))

    async def _load(self) -> None:
        """Have the ClientApp loaded once, and the size of its containers known.

        Raises:
            AppFailed: it cannot be loaded.
        """
        replies = await self._courier.load()
        for said in replies:
            if said.failure is not None:
                raise AppFailed(
                    f"the ClientApp {self._app.client_app} cannot be loaded in its container: "
                    f"{said.failure.said}; {_advice(said.failure.said)}"
                )
        if self._start.measures:
            peak_mb = max(max(said.peak_mb, said.working_set_mb) for said in replies)
            self._courier.memory_mb = self._places.all[0].sizes.loaded(peak_mb)
            self._basis = f"{peak_mb} MB when it was loaded"
        self._invoker.emit(FlowerPlanned(run=self._invoker.folder.run, plan=self._told()))

    async def _serve(self) -> None:
        """Answer the ServerApp until it ends; messages that are then on their way are given up."""
        beside: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:

            def begin(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
                task = group.create_task(work)
                beside.add(task)
                task.add_done_callback(beside.discard)
                return task

            # While a container loads the ClientApp, the ServerApp is loaded here.
            loading = begin(self._load())
            while (frame := await self._server.receive()).head["op"] != "ended":
                match frame.head:
                    case {"op": "content", "digest": digest}:
                        await self._courier.stage(digest, frame.body)
                    case {"op": "push", "letter": letter}:
                        begin(self._deliver(self._posted(Letter(**letter)), loading))
                    case {"op": "pushed", "digests": digests}:
                        for digest in digests:
                            await self._courier.release(digest)
                    case {"op": "pull", "q": number, "ids": ids, "wait_s": wait_s}:
                        begin(self._answer(number, ids, wait_s))
            for task in tuple(beside):
                task.cancel()
        await self._server.ended()
        if (error := frame.head["error"]) is not None:
            raise AppFailed(f"the ServerApp failed: {error}")

    def _posted(self, letter: Letter) -> Letter:
        self._mailbox.add(letter)
        self._courier.hold(letter)
        return letter

    async def _deliver(self, letter: Letter, loading: asyncio.Task[None]) -> None:
        # What cannot be loaded answers nothing, and its size is not known before.
        await asyncio.wait([loading])
        if not loading.cancelled() and loading.exception() is None:
            await self._courier.deliver(letter)

    async def _answer(self, number: int, ids: list[str], wait_s: float) -> None:
        head, body = answer(number, await self._mailbox.pull(ids, wait_s))
        await self._server.send(head, body)

    def _check_answers(self) -> None:
        """Refuse to call a run done in which no node has ever answered.

        Raises:
            AppFailed: none has.
        """
        ended = self._courier.entries()
        if ended and all(entry.outcome != "ok" for entry in ended):
            outcomes = Counter(entry.outcome for entry in ended)
            told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
            raise AppFailed(
                f"none of {counted(len(ended), 'message')} to the nodes was answered ({told}); the "
                f"first: {ended[0].error}; disdel logs {self._invoker.folder.run} shows more"
            )

    def _keep_peak(self) -> None:
        peak_mb = max(
            (
                max(one.peak_mb or 0, one.working_set_mb or 0)
                for one in self._invoker.journal.activations
                if one.task != LOAD
            ),
            default=0,
        )
        if peak_mb:
            place = chosen(self._settings).address(self._settings)
            keep_peak(place, self._app.fab_id, peak_mb)

    def _told(self) -> FlowerReport:
        return FlowerReport(
            app=self._app.fab_id,
            version=self._app.fab_version,
            flwr=self._app.flwr,
            nodes=len(self._app.nodes),
            containers=self._places.containers,
            memory_mb=self._courier.memory_mb,
            basis=self._basis,
            timeout_s=max(place.sizes.timeout_s for place in self._places.all),
            run_config=self._app.run_config,
            messages=self._courier.entries(),
        )

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        return RunReport(
            run=self._invoker.folder.run,
            job="flower",
            dataset=self._app.fab_id,
            platform=self._invoker.session.platform_name,
            status="ok",
            wall_s=round(wall_s, 3),
            settings={
                **entries(self._job),
                **{
                    name: value
                    for name, value in entries(self._settings).items()
                    if name not in NOT_OF_FLOWER
                },
                # As they were used.
                "app": str(self._job.app.absolute()),
                "num_supernodes": len(self._app.nodes),
                "containers": self._places.containers,
            },
            activations=tuple(self._invoker.journal.activations),
            totals=self._invoker.journal.totals(),
            flower=self._told(),
            endpoints=tuple(
                report
                for place in self._places.all
                if (report := place.report(self._invoker.journal.activations)) is not None
            ),
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _advice(said: str) -> str:
    if said.startswith(("ModuleNotFoundError", "ImportError")):
        return (
            "install what it imports where actions run (on the embedded platform, in the "
            "environment of this disdel), and see that the file is one that Flower takes along "
            "(fab-include in pyproject.toml)"
        )
    return "the activation's log has the traceback"
