"""What a platform allows, and what is planned on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from disdel.types.names import EstimatorName, Objective, Precision, RuntimeName, Split
from disdel.types.units import MIB, mb_ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitNames:
    """By which of its own settings a platform's limits are raised, in words for whoever runs it.

    Empty where there is none. In `pool`, `{need}` stands for the MB that are needed.
    """

    memory: str = ""
    pool: str = ""
    timeout: str = ""
    invokes_per_minute: str = ""


def in_brackets(name: str) -> str:
    """The name of a setting behind what it raises; nothing where there is none."""
    return f" ({name})" if name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a platform allows, as it says itself.

    `pool_memory_mb` (all containers together), `cpus` and `gpu_memory_mb` (of the GPU that all
    containers share) are None where the platform does not tell (no GPU is 0). `kinds` are
    its own runtimes, as `python:3.11`. For `settle_s` after an activation's answer its container
    may be busy with what comes after it, and take no other. `on_loopback` is whether its containers
    have the loopback of the machine that they run on. `payload_bytes` is the most JSON that an
    activation is given or answers, `code_bytes` the largest zip of an action, `own_code_bytes` the
    largest zip of what is neither the library nor its packages in it. `timeout_ordinary_s` is the
    time limit that an action has there where nobody asks for another. `names` say how the limits
    are raised. With `mb_per_cpu` a container has CPUs of its own, one for so much of its memory
    limit, or a share of one; `cpus` is then how many containers that holds for.
    """

    memory_min_mb: int
    memory_max_mb: int
    timeout_max_s: float
    concurrency: int
    invokes_per_minute: int
    pool_memory_mb: int | None = None
    cpus: int | None = None
    mb_per_cpu: int | None = None
    gpu_memory_mb: int | None = None
    kinds: tuple[str, ...] = ()
    settle_s: float = 0.0
    on_loopback: bool = False
    payload_bytes: int = MIB
    code_bytes: int = 36 * MIB
    own_code_bytes: int = sys.maxsize
    timeout_ordinary_s: float = 300.0
    names: LimitNames = LimitNames()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Predicted memory of one action by part, in bytes.

    The thesis's names, which reports have, are in brackets: the runtime image and the framework
    (pkg), the shard's data (dta), the model with gradients and optimizer state (mod), activations
    and scratch of a training step (fit), and a safety margin (saf).
    """

    framework: int
    data: int
    model: int
    step: int
    margin: int

    @property
    def total(self) -> int:
        return self.framework + self.data + self.model + self.step + self.margin

    @property
    def parts_mb(self) -> tuple[int, int, int, int, int]:
        """The parts in whole MB: each rounded, up or down, so that they make `total` rounded up."""
        parts = (self.framework, self.data, self.model, self.step, self.margin)
        whole = [part // MIB for part in parts]
        # What rounding down has lost goes to the parts that have lost most.
        losers = sorted(range(len(parts)), key=lambda place: whole[place] * MIB - parts[place])
        for place in losers[: mb_ceil(self.total) - sum(whole)]:
            whole[place] += 1
        framework, data, model, step, margin = whole
        return framework, data, model, step, margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """Where the memory limit of a train action may lie, in MB.

    Below `killed_below_mb` its anonymous memory does not fit, and the kernel kills it; from there
    to `thrashing_below_mb` it reads library pages again and again; above, it fits.
    """

    killed_below_mb: int
    thrashing_below_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A number of workers that was considered; `why` says why another was taken, or "".

    `fits` is whether it breaks no limit.
    """

    runtime: RuntimeName
    workers: int
    memory_mb: int
    pool_mb: int
    predicted_s: float
    gb_s: float
    fits: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a plan costs at a provider's prices, in US dollars."""

    provider: str
    usd: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Positions `start` to `stop` of a split, which worker `worker` runs a model over."""

    worker: int
    start: int
    stop: int

    @property
    def samples(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """What it holds, in a word."""
        return f"{self.start}-{self.stop}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPlan:
    """What one endpoint of several does, and with what.

    `workers` are the numbers of those whose containers are there, and `clients` how many of a
    round's are expected to be. `memory_mb`, `memory_max_mb`, `pool_mb`, `timeout_s`,
    `timeout_max_s`, `micro_batches`, `block_steps`, `predicted_s`, `gb_s` and `invocations` are
    those of `Plan`, of this endpoint alone. `step_s` is one training step, `cold_start_s` the start
    of a container, and `usd` what all of it costs; None where nobody has named a price.
    """

    endpoint: str
    platform: str
    workers: tuple[int, ...]
    clients: float
    memory_mb: int
    memory_max_mb: int
    pool_mb: int | None
    timeout_s: float
    timeout_max_s: float
    micro_batches: int
    block_steps: int
    step_s: float
    cold_start_s: float
    predicted_s: float
    gb_s: float
    invocations: int
    usd_per_gb_s: float | None = None
    usd_per_invocation: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSize:
    """Containers of one memory limit, for clients of a federation that may have no more.

    Attributes:
        memory_mb: the limit.
        clients_mb: what those who train there may have, each at least as much.
        workers: the numbers of those whose containers they are.
        micro_batches: the parts that a batch is cut into there.
        block_steps: as in `Plan`.
        needs_mb: what is estimated for the one that needs most.
    """

    memory_mb: int
    clients_mb: tuple[int, ...]
    workers: tuple[int, ...]
    micro_batches: int
    block_steps: int
    needs_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done, and why.

    `runtime` is what the train actions run on. `memory_mb` is the limit of one train action and
    `collect_memory_mb` that of collectWeights, of which one averages at most `fan_in` parts; it is
    0 where a worker's container averages: of one that is alone, or where all containers together
    have no room for one more.
    `memory_max_mb` and `timeout_max_s` are the most that one action may be given when it turns out
    to need more, and `pool_mb` is what all containers together may have (None where the platform
    does not tell).
    `threads` is the CPU threads of one worker, None where the platform does not tell its CPUs.
    `client_samples` are the training samples of each client, and `turns` the clients that each
    worker trains, one after the other.
    `validation_slices` are the slices of the validation split that the workers score between
    rounds where scores decide something, and `test_slices` those of the test split, which they then
    score once, at the end, and else between rounds.
    A batch is cut into `micro_batches` parts; `block_steps` is the steps between two looks at the
    deadline. `basis` says what the estimate rests on, `considered` what else could have been done.
    `predicted_s` is the wall time of the run, `gb_s` what its activations add up to, and
    `invocations` how many they are. `gpu_memory_mb` is what the tensors of one train action may
    take of a GPU: 0 for no GPU, None for what is free where the action sees one; `gpu_actions` is
    how many such actions the GPU holds, None where nobody tells its memory. `precision` is what
    training steps compute in, None where the run's first containers try. `score_every` is the
    rounds from one score to the next. `throttled_s`, a part of `predicted_s`, is what the run waits
    for the platform's minutes to end. `store_mb` is what Redis holds of it at most. `endpoints` is
    what each does, of a platform that is several, and `sizes` are those of a federation's
    containers, where they are not one: both count for their workers before what is here.
    """

    runtime: RuntimeName
    workers: int
    memory_mb: int
    collect_memory_mb: int
    fan_in: int
    memory_max_mb: int
    pool_mb: int | None
    timeout_s: float
    timeout_max_s: float
    rounds: int
    threads: int | None
    client_samples: tuple[int, ...]
    turns: tuple[tuple[int, ...], ...]
    test_slices: tuple[Slice, ...]
    estimate: Estimate
    predicted_s: float
    gb_s: float
    invocations: int
    micro_batches: int
    block_steps: int
    optimize: Objective
    estimator: EstimatorName
    basis: str
    zones: Zones
    considered: tuple[Option, ...]
    reasons: tuple[str, ...]
    gpu_memory_mb: int | None = None
    gpu_actions: int | None = None
    precision: Precision | None = "float32"
    score_every: int = 1
    throttled_s: float = 0.0
    store_mb: int = 0
    validation_slices: tuple[Slice, ...] = ()
    endpoints: tuple[EndpointPlan, ...] = ()
    sizes: tuple[ContainerSize, ...] = ()

    def size_of(self, worker: int) -> ContainerSize | None:
        """The size of a worker's containers, where they are of several."""
        return next((one for one in self.sizes if worker in one.workers), None)

    @property
    def scored_on(self) -> Split:
        """The split on which rounds are scored."""
        return "validation" if self.validation_slices else "test"

    def slices(self, split: Split) -> tuple[Slice, ...]:
        """The workers' slices of a split that is scored; empty where it is not used."""
        slices = {"validation": self.validation_slices, "test": self.test_slices}
        return slices.get(split, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class InferPlan:
    """How a model is run over samples, and why.

    `memory_mb` is the limit of one evaluate action, of which `workers` run at the same time on a
    slice each, in batches of `batch_size` samples. `threads`, `memory_max_mb`, `timeout_max_s`,
    `pool_mb`, `basis`, `predicted_s`, `gb_s`, `invocations` and `store_mb` are those of `Plan`.
    Of several endpoints, `endpoints` are what each does, whose `clients` are then its samples.
    """

    workers: int
    memory_mb: int
    memory_max_mb: int
    pool_mb: int | None
    timeout_s: float
    timeout_max_s: float
    threads: int | None
    batch_size: int
    slices: tuple[Slice, ...]
    estimate: Estimate
    predicted_s: float
    gb_s: float
    invocations: int
    optimize: Objective
    basis: str
    reasons: tuple[str, ...]
    store_mb: int = 0
    endpoints: tuple[EndpointPlan, ...] = ()
