"""The train containers of a run, whatever they train in a round: each is run, scores, and grows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.berths import Berths, berths_of
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.invoking.workers import Workers
from disdel.controller.training.crew import Crew
from disdel.planner.memory import score_batch
from disdel.protocol import messages
from disdel.runtimes.registry import runtime_named
from disdel.strategies.base import Strategy
from disdel.types import ModelSpec, Plan, TrainJob
from disdel.types.events import Listener
from disdel.types.words import counted


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a client has left what it keeps, and in which round."""

    key: str
    round: int


class TrainContainers:
    """The containers of one run that have its framework.

    Args:
        job: what the user asked for.
        crew: how it is done, and with whose samples.
        model: the network.
        strategy: who takes part, on which terms, and what an update weighs.
        action: the train action.
        invoker: runs activations and keeps their records.
        emit: told what a user should know.

    Attributes:
        optimizers: where each client's optimizer is kept, when they keep their own.
        own: likewise what each client keeps by the strategy.
        precision: what steps compute in; None until a container has chosen.
    """

    def __init__(
        self,
        job: TrainJob,
        crew: Crew,
        model: ModelSpec,
        strategy: Strategy,
        action: SizedAction,
        invoker: Invoker,
        emit: Listener,
    ) -> None:
        self.job = job
        self.crew = crew
        self.model = model
        self.strategy = strategy
        self.action = action
        self.invoker = invoker
        self.emit = emit
        self.optimizers: dict[int, str] = {}
        self.own: dict[int, Kept] = {}
        self.precision = job.precision
        plan = crew.plan
        cuts = model.by_sample and runtime_named(plan.runtime).costs.cuts_batches
        self._workers = Workers(
            action=action,
            invoker=invoker,
            name="worker",
            numbers=_numbers(plan),
            berths=self._berths(),
            batch_size=job.batch_size,
            reserved_mb=plan.collect_memory_mb,
            batches=partial(held_at_once, cuts=cuts),
        )

    @property
    def plan(self) -> Plan:
        """The present one."""
        return self.crew.plan

    def attempt(self, worker: int) -> Attempt:
        """How this worker is run at present."""
        return self._workers.attempt(worker)

    def worker_mb(self) -> int:
        """The limit of a worker's container, where one averages."""
        return self.attempt(0).memory_mb

    def recut(self) -> None:
        """Go on with the crew's new number of workers."""
        self._workers.recut(_numbers(self.plan), self._berths())

    def _berths(self) -> Berths:
        if not self.plan.endpoints:
            return berths_of(self.plan)
        session = self.invoker.session
        made_of = session.endpoints
        sizes = {} if made_of is None else {n: made_of.named(n).size_mb for n in made_of.collect}
        return berths_of(self.plan, answers=session.platform.answers, sizes=sizes)

    @property
    def berths(self) -> Berths:
        """Where the workers are."""
        return self._workers.berths

    async def ensure_created(self) -> None:
        """Create the action in the size that was planned, where the first worker is."""
        berth = self.berths.of(0)
        await self.action.of_size(
            berth.planned.memory_mb, generation=self.invoker.generation, berth=berth
        )

    def network(self) -> messages.Network:
        """The network as the workers build it."""
        return messages.Network(
            runtime=self.plan.runtime,
            model=self.model,
            optimizer=self.model.optimizer(self.job.optimizer).named,
            learning_rate=self.job.learning_rate,
            seed=self.job.seed,
            threads=self.plan.threads,
            precision=self.precision,
            gpu_memory_mb=self.plan.gpu_memory_mb,
        )

    async def score(self, request: messages.ScoreRequest) -> messages.ScoreReply:
        """Score a slice on this worker's warm container.

        Raises:
            ActivationFailed: it failed in a way that another attempt would not mend.
        """

        async def send(attempt: Attempt) -> messages.ScoreReply:
            sized = replace(request, batch_size=score_batch(attempt.micro_batches))
            call = await self._workers.call(
                "score", sized, request.worker, attempt, number=request.round
            )
            return await self.invoker.call(call, messages.ScoreReply)

        return await self._workers.persist(request.worker, send)

    def states_in_use(self) -> set[int]:
        """The rounds whose states somebody may still read who trains, beside the last."""
        return set()

    async def finish(self) -> None:
        """Wait no more for activations that nobody needs."""


def _numbers(plan: Plan) -> range:
    return range(len(plan.turns))


def held_at_once(attempt: Attempt, *, cuts: bool) -> str:
    """For a message: what an attempt does to hold less at once; empty where it does nothing.

    Args:
        attempt: the one that follows.
        cuts: whether its batches are cut, and not its blocks of steps alone.
    """
    if attempt.micro_batches == 1:
        return ""
    if cuts:
        return f", batches in {attempt.micro_batches} parts"
    return f", {counted(attempt.block_steps, 'step')} at a time"
