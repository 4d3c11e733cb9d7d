"""The facts that travel between the parts of disdel: frozen, checked once, free of behaviour.

`MB` is 2**20 bytes throughout, as it is in OpenWhisk's limits. Times are seconds unless a name
ends in `_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from disdel.errors import UsageError

Sync = Literal["once", "epoch"] | int
Split = Literal["train", "test"]
Status = Literal["success", "application error", "action developer error", "whisk internal error"]
Outcome = Literal["ok", "continued-time", "continued-memory", "oom", "timeout", "error"]

Objective = Literal["time", "cost", "memory"]
EstimatorName = Literal["measured", "sap"]
RuntimeName = Literal["tensorflow", "torch", "compiled"]
# What is learnt of a sample: its class, one of two classes by one output, or a number.
Target = Literal["class", "binary", "number"]
OptimizerState = Literal["reset", "local", "average"]
Average = Literal["samples", "equal"]
WorkersPolicy = Literal["fixed", "adapt"]
RateShape = Literal["constant", "cosine", "linear"]

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad", "nadam", "lion")
DEFAULT_OPTIMIZER = "adam"

MAX_BATCH_SIZE = 65_536
MAX_EPOCHS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What is known of a data set without reading its samples.

    `name` and `version` are those of the TFDS catalog or of the import. `input_shape` is the shape
    of one sample without the batch axis, images as (height, width, channels); `input_dtype` is
    "uint8" for images. `classes` is 0 where the targets are numbers. `samples` counts each split
    that can be trained or tested on; where the source has no test split, one was held out of its
    training split and `held_out` is true.
    """

    name: str
    version: str
    input_shape: tuple[int, ...]
    input_dtype: str
    classes: int
    train_samples: int
    test_samples: int
    held_out: bool = False
    class_names: tuple[str, ...] = ()
    description: str = ""

    def samples(self, split: Split) -> int:
        return self.train_samples if split == "train" else self.test_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRef:
    """A function of the user's, without its files.

    `entry` is as the user wrote it, `source` the file or the dotted module in the folder of the
    files, `requirements` what the module says that it needs, as pip writes it. `digest` is of
    source, function and files.
    """

    entry: str
    source: str
    function: str
    requirements: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A network that the user wrote, as it was found when it was built once.

    `gives_probabilities` is whether its outputs are probabilities and not logits. `optimizer` names
    the one that stands beside its function, None where there is none.
    """

    code: CodeRef
    runtime: RuntimeName
    facts: ModelFacts
    gives_probabilities: bool
    optimizer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A network by name, made concrete by the shapes of a data set; `own` if the user wrote it."""

    name: str
    input_shape: tuple[int, ...]
    classes: int
    target: Target = "class"
    own: OwnModel | None = None

    @property
    def label(self) -> str:
        """The network with its shapes, as one word: `cnn-28x28x1-10`."""
        shape = "x".join(str(size) for size in self.input_shape)
        code = "" if self.own is None else f"-{self.own.code.digest[:12]}"
        return f"{self.name}-{shape}-{self.classes}{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Sizes of a network, for one sample where it depends on samples.

    parameters: trainable parameters; activations: elements of the layers' outputs that a training
    step keeps for its backward pass, input included; largest: elements of the largest output;
    layers: how many there are; multiply_adds: of the forward pass.
    """

    parameters: int
    activations: int
    largest: int
    layers: int
    multiply_adds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSchedule:
    """How the learning rate changes over a run (`training/rates.py` has the formulas).

    Attributes:
        shape: how it falls after the warm-up.
        warmup: steps of a worker during which it rises; below 1, a share of all its steps.

    Raises:
        UsageError: a value is out of range.
    """

    shape: RateShape = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _one_of("--schedule", self.shape, get_args(RateShape))
        if not (0 <= self.warmup < 1 or (1 <= self.warmup < 2**31 and self.warmup % 1 == 0)):
            raise UsageError(
                "--warmup must be a whole number of steps, or below 1 a share of all, not "
                f"{self.warmup:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """When the average is scored on the held-out split, and what ends a run early.

    Attributes:
        every: rounds from one score to the next; the last round is always scored.
        target_accuracy: the run ends with the first score that reaches it.
        patience: the run ends when so many rounds have brought no lower loss than the best, and
            its model is that of the best round.

    Raises:
        UsageError: a value is out of range.
    """

    every: int = 1
    target_accuracy: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        _in_range("--validate-every", self.every, 1, 2**31)
        if self.patience is not None:
            _in_range("--patience", self.patience, 1, 2**31)
        target = self.target_accuracy
        if target is not None and not 0 < target <= 1:
            raise UsageError(f"--target-accuracy must be above 0 and at most 1, not {target:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What the user asked for; None leaves workers, runtime and fan-in to the planner.

    `dataset` is a name, or a function of the user's as `disdel.user_code` reads it; so is `model`.
    `optimizer` is None for that of the user's model, else `DEFAULT_OPTIMIZER`.

    Attributes:
        average: a worker's weight in an average: the samples that it has seen, or 1.
        optimizer_state: what becomes of the optimizers' slots and counters at the end of a round:
            forgotten, kept by each worker for itself, or averaged as the weights are.
        rate_schedule: how the learning rate changes over the run.
        validation: when the average is scored, and what ends the run early.
        workers_policy: whether the workers may become more or fewer between rounds, and
        workers_max: how many then at most; None leaves it to the other limits.

    Raises:
        UsageError: a value is out of range.
    """

    dataset: str
    batch_size: int = 64
    epochs: int = 5
    sync: Sync = "epoch"
    workers: int | None = None
    model: str = "auto"
    runtime: RuntimeName | None = None
    fan_in: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    seed: int = 0
    average: Average = "samples"
    optimizer_state: OptimizerState = "average"
    rate_schedule: RateSchedule = field(default_factory=RateSchedule)
    validation: Validation = field(default_factory=Validation)
    workers_policy: WorkersPolicy = "fixed"
    workers_max: int | None = None

    def __post_init__(self) -> None:
        _one_of("--workers-policy", self.workers_policy, get_args(WorkersPolicy))
        if self.workers_max is not None:
            _in_range("--workers-max", self.workers_max, 1, 10_000)
        if self.workers_policy == "adapt" and self.sync != "epoch":
            raise UsageError(
                f"--workers-policy adapt compares epochs, so it needs --sync epoch, not {self.sync}"
            )
        if self.workers_policy == "adapt" and self.optimizer_state == "local":
            raise UsageError(
                "--workers-policy adapt cannot go with --optimizer-state local: a worker that is "
                "gone would take its optimizer with it"
            )
        _in_range("--batch", self.batch_size, 1, MAX_BATCH_SIZE)
        _one_of("--average", self.average, get_args(Average))
        _one_of("--optimizer-state", self.optimizer_state, get_args(OptimizerState))
        _in_range("--epochs", self.epochs, 1, MAX_EPOCHS)
        _in_range("--seed", self.seed, 0, 2**32 - 1)
        if self.workers is not None:
            _in_range("--workers", self.workers, 1, 10_000)
        if self.fan_in is not None:
            _in_range("--fan-in", self.fan_in, 2, 10_000)
        if self.runtime is not None:
            _one_of("--runtime", self.runtime, ("auto", *get_args(RuntimeName)))
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {self.optimizer!r}; known: {', '.join(OPTIMIZERS)}"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1000:
            raise UsageError(
                f"--learning-rate must be above 0 and at most 1000, not {self.learning_rate:g}"
            )
        if isinstance(self.sync, int):
            _in_range("--sync", self.sync, 1, 2**31)


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the user allows beyond what the platform allows; None leaves it to the platform."""

    memory_max_mb: int | None = None
    pool_memory_mb: int | None = None
    timeout_max_s: float | None = None

    def __post_init__(self) -> None:
        if self.memory_max_mb is not None:
            _in_range("--memory-max", self.memory_max_mb, 1, 2**31)
        if self.pool_memory_mb is not None:
            _in_range("--pool-memory", self.pool_memory_mb, 1, 2**31)
        if self.timeout_max_s is not None and not 0 < self.timeout_max_s <= 86_400:
            raise UsageError(
                f"--timeout-max must be above 0 and at most 86400 s, not {self.timeout_max_s:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a platform allows, as it says itself.

    `pool_memory_mb` (all containers together) and `cpus` are None where the platform does not
    tell, as OpenWhisk does not.
    """

    memory_min_mb: int
    memory_max_mb: int
    timeout_max_s: float
    concurrency: int
    invokes_per_minute: int
    pool_memory_mb: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What a plan is to be good at.

    Attributes:
        optimize: what is made small: predicted time, GB·s, or the memory of all containers.
        estimator: how memory is estimated.
        miss_rate: the share of containers that may need more than their estimate.

    Raises:
        UsageError: a name is unknown or the rate out of range.
    """

    optimize: Objective = "time"
    estimator: EstimatorName = "measured"
    miss_rate: float = 1e-3

    def __post_init__(self) -> None:
        _one_of("--optimize", self.optimize, get_args(Objective))
        _one_of("--estimator", self.estimator, get_args(EstimatorName))
        if not 1e-6 <= self.miss_rate <= 0.5:
            raise UsageError(f"--miss-rate must be from 1e-06 to 0.5, not {self.miss_rate:g}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} must be {' or '.join(known)}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Predicted memory of one action by part, in bytes.

    pkg: runtime image and framework; dta: the shard; mod: weights, gradients and optimizer slots;
    fit: activations and scratch of a training step; saf: safety margin.
    """

    pkg: int
    dta: int
    mod: int
    fit: int
    saf: int

    @property
    def total(self) -> int:
        return self.pkg + self.dta + self.mod + self.fit + self.saf


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
    """A number of workers that was considered; `why` says why another was taken, or ""."""

    runtime: RuntimeName
    workers: int
    memory_mb: int
    pool_mb: int
    predicted_s: float
    gb_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a plan costs at a provider's prices, in US dollars."""

    provider: str
    usd: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The samples that worker `worker` owns: positions `start` to `stop` of the shuffled split."""

    worker: int
    start: int
    stop: int

    @property
    def samples(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done, and why.

    `runtime` is what the train actions run on. `memory_mb` is the limit of one train action and
    `collect_memory_mb` that of collectWeights, of which one averages at most `fan_in` parts.
    `memory_max_mb` is the most that one action may be given when it turns out to need more, and
    `pool_mb` what all containers together may have (None where the platform does not tell).
    `threads` is the CPU threads of one worker, None where the platform does not tell its CPUs.
    `test_shards` are the slices of the held-out split that the workers score between rounds.
    A batch is cut into `micro_batches` parts; `block_steps` is the steps between two looks at the
    deadline. `basis` says what the estimate rests on, `considered` what else could have been done.
    `predicted_s` is the wall time of the run, `gb_s` what its activations add up to, and
    `invocations` how many they are.
    """

    runtime: RuntimeName
    workers: int
    memory_mb: int
    collect_memory_mb: int
    fan_in: int
    memory_max_mb: int
    pool_mb: int | None
    timeout_s: float
    rounds: int
    threads: int | None
    shards: tuple[Shard, ...]
    test_shards: tuple[Shard, ...]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InferPlan:
    """How a model is run over samples, and why.

    `memory_mb` is the limit of one evaluate action, of which `workers` run at the same time on a
    shard each, in batches of `batch_size` samples. `threads`, `memory_max_mb`, `pool_mb`, `basis`,
    `predicted_s`, `gb_s` and `invocations` are those of `Plan`.
    """

    workers: int
    memory_mb: int
    memory_max_mb: int
    pool_mb: int | None
    timeout_s: float
    threads: int | None
    batch_size: int
    shards: tuple[Shard, ...]
    estimate: Estimate
    predicted_s: float
    gb_s: float
    invocations: int
    optimize: Objective
    basis: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRecord:
    """One finished activation, as the platform recorded it.

    `init_ms` is None on a warm start: that absence is OpenWhisk's own mark of one. `wait_ms` is
    the time from the request to the start of init or run, container creation included.
    """

    id: str
    action: str
    start_ms: int
    duration_ms: int
    wait_ms: int
    init_ms: int | None
    status: Status
    timed_out: bool
    result: object
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When an activation was through with what, in ms since its code was called.

    In this order; None for what it does not do or did not come to.

    Attributes:
        imported_ms: the framework is imported (at once, in a warm container).
        data_ms: the samples are in memory.
        built_ms: the network is built.
        loaded_ms: the weights to begin with are loaded.
        computed_ms: steps are trained, samples scored, or parts averaged and published.
        stored_ms: the resulting weights or model file are stored.
    """

    imported_ms: int | None = None
    data_ms: int | None = None
    built_ms: int | None = None
    loaded_ms: int | None = None
    computed_ms: int | None = None
    stored_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """An activation's way, in ms since the run began: sent, started by the platform, answered."""

    submitted_ms: int
    started_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One activation of a run, as reported.

    Attributes:
        peak_mb: the most that was charged to its container; None when it died unmeasured.
        working_set_mb: the most that its container's processes had resident so far, mapped library
            pages included whoever they are charged to; None when it died unmeasured.
        framework_anonymous_mb: anonymous memory after the framework's import, of a train action.
        framework_mapped_mb: mapped file pages at that time.
        steps: training steps taken.
        train_s: the time of these steps.
        times: when it was sent, started and answered.
        phases: what it did when; None when it failed.
    """

    id: str
    action: str
    task: str
    worker: int | None
    round: int
    segment: int
    attempt: int
    memory_mb: int
    peak_mb: int | None
    start: Literal["cold", "warm"]
    wait_ms: int
    init_ms: int
    duration_ms: int
    outcome: Outcome
    working_set_mb: int | None = None
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    steps: int = 0
    train_s: float | None = None
    times: Times | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One worker's part in one average: what it was made of, and a checksum of what was averaged.

    `attempt` counts the activations that were lost or overtaken before this one; `samples` made
    the part, and are its weight unless all weigh the same.
    """

    round: int
    worker: int
    attempt: int
    samples: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over `samples` samples: loss, accuracy (a fraction) and what else was asked for.

    `accuracy` is None where there are no classes.
    """

    loss: float
    accuracy: float | None
    samples: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How well one class is recognised.

    Attributes:
        name: of the class.
        samples: that are of the class.
        predicted: samples that were taken for it.
        precision: the share of those that are of the class; None where there are none.
        recall: the share of its samples that were taken for it; None where it has none.
        f1: the harmonic mean of the two; None where the class neither is nor was predicted.
    """

    name: str
    samples: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model makes of labelled samples, beyond loss and accuracy.

    Attributes:
        confusion: `confusion[true][predicted]` counts samples.
        classes: one score a class, in their order.
        top_k: how many classes a sample has guesses for.
        top_k_accuracy: the share of samples whose class is among its `top_k` likeliest.
    """

    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassScore, ...]
    top_k: int
    top_k_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """One round: the workers' training loss, and the average's score on the held-out split.

    `score` is None where the round was not to be scored.
    """

    round: int
    wall_s: float
    train_loss: float
    score: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over a run; `memory_mb` sums the limits of all containers that were created."""

    containers: int
    cold: int
    restarted: int
    failed: int
    failure_rate: float
    memory_mb: int
    gb_s: float
    init_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything that is known of a run; `controller/report_json.py` gives it its wire form.

    `accuracy` and `loss` are those of `model_round`, whose average the model is. `stopped` says
    why a run ended before its last round, and `resumed_after` which round was the last complete
    one when this controller took it up.
    """

    run: str
    job: Literal["train", "infer"]
    dataset: str
    platform: Literal["embedded", "openwhisk"]
    status: Literal["running", "ok", "failed"]
    settings: dict[str, object]
    wall_s: float
    error: ErrorReport | None = None
    accuracy: float | None = None
    loss: float | None = None
    model: str | None = None
    plan: Plan | InferPlan | None = None
    rounds: tuple[RoundReport, ...] = ()
    activations: tuple[Activation, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    totals: Totals | None = None
    model_round: int | None = None
    stopped: str | None = None
    resumed_after: int | None = None
    evaluation: Evaluation | None = None
