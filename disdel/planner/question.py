"""What a plan is asked for: the job, and everything that bounds it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from disdel.planner.calibration import (
    RunTimes,
    alike,
    at_speed,
    calibrated,
    run_times,
    step_ratio,
    traced,
)
from disdel.planner.observations import Observation, telling
from disdel.planner.timing import step_s, trace_s
from disdel.types import (
    Aims,
    CallMemory,
    Capacity,
    DatasetSpec,
    Limits,
    ModelFacts,
    ModelSpec,
    RuntimeCosts,
    TrainJob,
    TriedSteps,
)
from disdel.types.assignment import equal_counts

_TIMEOUT_FACTOR = 4.0

# What a platform that does not tell its CPUs is taken to have; the thesis used four containers.
ASSUMED_CPUS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What bounds every plan, of a training and of an inference.

    Attributes:
        dataset: shapes and sizes of the samples.
        shipped: the runtime, with its shipped constants.
        capacity: what the platform allows.
        limits: what the user allows.
        aims: what the plan is to be good at.
        observations: earlier containers of this runtime on this platform, oldest first.
        store_mb: what Redis has room for, None where it sets no limit.
    """

    dataset: DatasetSpec
    shipped: RuntimeCosts
    capacity: Capacity
    limits: Limits = field(default_factory=Limits)
    aims: Aims = field(default_factory=Aims)
    observations: tuple[Observation, ...] = ()
    store_mb: int | None = None

    @property
    def cpus(self) -> int:
        return self.capacity.cpus or ASSUMED_CPUS

    @property
    def memory_max_mb(self) -> int:
        """The most memory of one action."""
        allowed = self.limits.memory_max_mb
        return min(self.capacity.memory_max_mb, allowed or self.capacity.memory_max_mb)

    @property
    def pool_mb(self) -> float:
        """The most memory of all containers together; infinite where nobody tells."""
        asked = self.limits.pool_memory_mb or math.inf
        return min(asked, self.capacity.pool_memory_mb or math.inf)

    @property
    def gpu_memory_mb(self) -> int | None:
        """The GPU memory of all actions together: 0 for no GPU, None where nobody tells."""
        if not self.shipped.uses_gpu:
            return 0
        told = (self.limits.gpu_memory_mb, self.capacity.gpu_memory_mb)
        return min((memory_mb for memory_mb in told if memory_mb is not None), default=None)

    @property
    def timeout_max_s(self) -> float:
        """The longest activation."""
        return min(
            self.capacity.timeout_max_s, self.limits.timeout_max_s or self.capacity.timeout_max_s
        )

    def timeout_s(self, busy_s: float) -> float:
        """The time limit of an action whose activations take about `busy_s` when all is well.

        A limit that is not used up costs nothing, and on a busy machine a container may take most
        of a minute to start: it is what the user says, else what is usual on the platform, and
        more only for long rounds, since a container that hangs is noticed when its limit ends.
        """
        if self.limits.timeout_max_s is not None:
            return self.timeout_max_s
        wanted_s = max(self.capacity.timeout_ordinary_s, math.ceil(busy_s * _TIMEOUT_FACTOR))
        return min(self.capacity.timeout_max_s, wanted_s)


@dataclass(frozen=True, slots=True)
class ClientWork:
    """What a client does in a round: so many steps, of so many samples each in the mean."""

    steps: int
    batch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedClients:
    """The clients of a federation that train in containers of one memory limit.

    Attributes:
        memory_mb: the limit.
        clients: how many of them a round is expected to ask.
        share: of all steps that a round is expected to take.
        samples: those of each of so many that are like most of them, the largest first.
        batch_size: their largest.
    """

    memory_mb: int
    clients: float
    share: float
    samples: Callable[[int], tuple[int, ...]]
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientScores:
    """What the clients of a federation score, beside the slices of a split.

    Attributes:
        times: how many times in the run all clients score the server's model.
        clients: how many they are.
        samples: of all of them.
        further: what all of them train, before they score once more; None where they do not.
        before_average: whether each that trains in a round scores its model on the split, too, if
            the round is scored.
    """

    times: int
    clients: int
    samples: int
    further: ClientWork | None = None
    before_average: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """What sets a federation apart from a training, for a plan.

    Its clients are those of one cohort, and each container adds up the updates of its own.

    Attributes:
        rounds: of the run.
        work: what each of so many clients does in a round, in the order of `Question.counts`.
        sums: whether one sum leaves a container, and not each update.
        further_sums: that a strategy wants, and containers make beside it.
        asked: clients of a round, of which the planned ones are as many as matter for its time.
        clients: of the whole federation.
        deadline_s: of a round, from its start; None for none.
        updates: that make a version on so many containers, where they are taken as they come: it
            is planned as a round of so many clients, since none begins that would only be stale.
        scores: what clients score; None where they do not.
        sizes: who trains in containers of which size, ascending; empty where the plan says that.
        loads: whether code of the user's own loads the samples where clients train.
    """

    rounds: int
    work: Callable[[int], tuple[ClientWork, ...]]
    sums: bool = True
    further_sums: int = 0
    asked: int = 0
    clients: int = 0
    deadline_s: float | None = None
    updates: Callable[[int], int] | None = None
    scores: ClientScores | None = None
    sizes: tuple[SizedClients, ...] = ()
    loads: bool = False

    @property
    def sum_count(self) -> int:
        """The sums that a container makes."""
        return 1 + self.further_sums if self.sums else 1

    @property
    def most_kept(self) -> int:
        """What clients keep, at most, while those of a round write what is theirs anew."""
        return self.asked + min(self.clients, self.rounds * self.asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Bounds):
    """All that the plan of a training depends on; the same question has the same answer.

    Attributes:
        job: what the user asked for.
        model: the network.
        spent_s: what the command has taken before the plan, the compiler apart.
        tried_s: the part of that in which a network of the user's own was tried out, while
            containers got ready.
        compile_s: what compiling the network takes before the run.
        calls: what the compiled network takes, where it was compiled.
        counts: the samples of each of so many clients; None deals equal numbers.
        term_copies: copies of the weights that the strategy's terms take in a train action.
        advances: whether the strategy makes the next state of the updates' mean, and
        kept_copies: copies of the weights that it keeps between rounds, and
        own_copies: that each client keeps.
        is_whole: whether one action must have all updates of a round.
        scores_first: whether an average is scored in the train actions of the next round.
        federation: of a job that is one.
        is_tried: whether an earlier trial has chosen the precision.
        tries_precision: whether a trial may choose it in the run.
        slowness: how many times as long steps take as shipped, where none was observed.
        pace: the same of all else that computes.
        steps: what steps took where they were tried out on such a machine; None where they were
            not.
        notes: what else the user should know of the plan.
    """

    job: TrainJob
    model: ModelSpec
    spent_s: float = 0.0
    tried_s: float = 0.0
    compile_s: float = 0.0
    calls: CallMemory | None = None
    counts: Callable[[int], tuple[int, ...]] | None = None
    term_copies: int = 0
    advances: bool = False
    kept_copies: int = 0
    federation: Federation | None = None
    own_copies: int = 0
    is_whole: bool = False
    scores_first: bool = False
    is_tried: bool = False
    tries_precision: bool = False
    slowness: float = 1.0
    pace: float = 1.0
    steps: TriedSteps | None = None
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> ModelFacts:
        """The network's sizes."""
        return self.model.facts

    @property
    def sums(self) -> bool:
        """Whether one sum of updates leaves a container, and not each update."""
        return self.federation is not None and self.federation.sums

    def clients(self, workers: int) -> int | None:
        """How many clients train in a round on so many workers; None for one on each."""
        if self.federation is not None and self.federation.updates is not None:
            return self.federation.updates(workers)
        return self.job.clients

    @property
    def most_workers(self) -> int:
        """How many workers there is something to do for."""
        if self.federation is not None:
            return self.job.clients or 1
        return max(1, self.dataset.train_samples // self.job.batch_size)

    def rounds(self, client_samples: tuple[int, ...]) -> int:
        """How many times the clients' weights are averaged."""
        job = self.job
        if self.federation is not None:
            return self.federation.rounds
        if job.sync == "once":
            return 1
        if job.sync == "epoch":
            return job.epochs
        longest = math.ceil(max(client_samples) / job.batch_size)
        return math.ceil(job.epochs * longest / job.sync)

    def work(self, client_samples: Sequence[int]) -> list[ClientWork]:
        """What each client does over the run, taking part in every round."""
        if self.federation is not None:
            rounds = self.federation.rounds
            each = self.federation.work(len(client_samples))
            return [ClientWork(rounds * one.steps, one.batch) for one in each]
        job = self.job
        whole = self.batch_of(max(client_samples))
        return [
            ClientWork(job.epochs * math.ceil(samples / job.batch_size), whole)
            for samples in client_samples
        ]

    @property
    def loads(self) -> bool:
        """Whether code of the user's own loads the samples where clients train."""
        return self.federation is not None and self.federation.loads

    def client_samples(self, clients: int) -> tuple[int, ...]:
        """The training samples of each of `clients` clients.

        Raises:
            PartitionError: they cannot be dealt to so many.
        """
        if self.counts is None:
            return equal_counts(self.dataset.train_samples, clients)
        return self.counts(clients)

    def batch_of(self, samples: int) -> int:
        """The samples of a step of a client that has so many: a small one has no full batch."""
        return min(self.job.batch_size, samples)

    @property
    def cuts_batches(self) -> bool:
        """Whether steps come to the same and hold less where a batch is cut into parts."""
        return self.shipped.cuts_batches and self.model.by_sample

    @property
    def runtime(self) -> RuntimeCosts:
        """The runtime's costs as observed, its speed that of the same network where it was seen."""
        runtime = calibrated(
            self.shipped, self.observations, self.job.precision, self.slowness, self.pace
        )
        own = tuple(o for o in self._alike if o.step_s)
        ratio = step_ratio(own)
        if ratio is not None:
            return traced(at_speed(runtime, self.shipped, ratio), own)
        if self.steps is not None:
            runtime = self._as_tried(runtime, self.steps)
        return self._as_begun(runtime)

    def _as_tried(self, runtime: RuntimeCosts, steps: TriedSteps) -> RuntimeCosts:
        """`runtime` with the steps that were tried out."""
        shipped_s = step_s(self.shipped, self.facts, steps.batch_size, threads=1)
        runtime = at_speed(runtime, self.shipped, steps.step_s / shipped_s)
        if steps.trace_s is None:
            return runtime
        return replace(runtime, trace_s=steps.trace_s, trace_layer_s=0.0)

    def _as_begun(self, runtime: RuntimeCosts) -> RuntimeCosts:
        """`runtime` with steps and tracing that take so long together as first blocks were seen to.

        Of runs so short that none had a second: what they took beyond what was predicted belongs to
        both in proportion.
        """
        ratios = [
            o.first_s
            / (
                trace_s(runtime, self.facts)
                + o.first_steps * step_s(runtime, self.facts, o.batch_size, o.threads or 1)
            )
            for o in self._alike
            if o.first_s
        ]
        if not ratios:
            return runtime
        ratio = statistics.median(ratios)
        return replace(
            at_speed(runtime, runtime, ratio),
            trace_s=runtime.trace_s * ratio,
            trace_layer_s=runtime.trace_layer_s * ratio,
        )

    def run_times(self, workers: int, scored_rounds: float) -> RunTimes:
        """As `calibration.run_times`."""
        own, seen = (telling(some, loads=self.loads) for some in (self._alike, self.observations))
        federated = self.federation is not None
        return run_times(seen, own, workers, scored_rounds, federated=federated)

    @property
    def on_one_container(self) -> Question:
        """The same, of one container, as if nothing had been measured or compiled before."""
        job = replace(self.job, workers=1, workers_policy="fixed", fan_in=None)
        unmeasured = replace(self, observations=(), slowness=1.0, pace=1.0, steps=None)
        return replace(unmeasured, job=job, compile_s=0.0, calls=None)

    @property
    def has_seen_steps(self) -> bool:
        """Whether steps of this network, batch and precision were seen on this runtime."""
        return any(o.step_s or o.first_s for o in self._alike)

    @property
    def basis(self) -> str:
        """What the estimate rests on, for people."""
        count = len(self.observations)
        if not count:
            return "shipped constants; this platform was not measured yet"
        own = len(self._alike)
        return (
            f"{count} container{'s' * (count > 1)} measured on this platform, {own} of them with "
            "this network and batch"
        )

    @property
    def _alike(self) -> tuple[Observation, ...]:
        batch = self.batch_of(self.dataset.train_samples)
        return alike(self.observations, self.model.label, batch, self.job.precision)
