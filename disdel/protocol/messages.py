"""What the controller tells the actions and what they answer, as JSON objects.

Every request carries `v`; an action refuses a version that it does not know, so that a bundle and
a controller of different releases fail with a sentence. Addresses and keys travel as the package's
parameters (see `Common`), which every action inherits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

import dacite

from disdel.errors import UsageError
from disdel.types.names import OptimizerState, Precision, RuntimeName
from disdel.types.phases import Phases
from disdel.types.rate_schedule import RateSchedule
from disdel.types.specs import ModelSpec, TargetSpec

WIRE_VERSION = 9

# In the metadata of an update or a state, as lists in JSON: the tensors of the model that gradients
# do not train; and of those, in a state, the ones that no step changes, which no sum has.
UNTRAINED = "untrained"
FROZEN = "frozen"
# In a stored sum: the units of all elements, and before the names of further sums and of what is no
# floating point.
SUMS = "sums"
FURTHER = "further/"
LARGEST = "largest/"
# In the metadata of the initial state: the precision that whoever published it has chosen.
PRECISION = "precision"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every action of a run is told: `v`, `run` and `store` by the package's parameters.

    The same `invocation` may be sent again when its answer got lost: the first activation that
    claims it does the work, and any other answers who that is. `store` is an address for
    `store.opening`; a store that fails is tried again for `patience_s`. `env` is added to the
    action's environment first of all. `client_secret` is a parameter of the train action alone
    (`protocol/protection.py`). With `keeps_answer` the activation leaves what it answers with its
    claim, for a platform that has no records. `versions`, of disdel, python and distributions, are
    what the other side must have, as far as their second number.
    """

    v: int
    run: str
    store: str
    invocation: str | None = None
    patience_s: float = 10.0
    env: Mapping[str, str] = field(default_factory=dict)
    client_secret: str | None = None
    keeps_answer: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The answer of an activation whose work another one, `claimed_by`, is doing or has done."""

    claimed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The network that the workers build, and how it is trained.

    `optimizer` is None for the one that stands beside the user's own model. With `precision` None
    the state to start from says what steps compute in (`PRECISION`). `gpu_memory_mb` is that of
    `Plan`.
    """

    runtime: RuntimeName
    model: ModelSpec
    optimizer: str | None
    learning_rate: float | None
    seed: int
    threads: int | None
    precision: Precision | None = "float32"
    gpu_memory_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTerms:
    """What each step adds to its gradients: `proximal` · (w - w_round), and corrections.

    `anchor_key` is the state w_round that the round began with. The correction is the tensors that
    the blob `correction_key` has under the prefix `correction`; those that the client's own blob
    `own_key` has under `own_correction` are subtracted. A key is None where there are none.
    """

    proximal: float
    anchor_key: str
    correction: str | None = None
    correction_key: str | None = None
    own_correction: str | None = None
    own_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKeeps:
    """Let a strategy say what a client keeps of its round for its next one.

    `strategy` has the values `parameters` of its fields. The round began with `before_key`; what
    the server keeps is at `kept_key`, and what the client has kept at `own_key` (None where there
    is nothing yet). What it keeps goes to `new_own_key`. The learning rates of the round's steps
    come to `rate_sum`.
    """

    strategy: str
    parameters: dict[str, Any]
    before_key: str
    kept_key: str | None
    own_key: str | None
    new_own_key: str
    rate_sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFirst:
    """Score the state that a round begins with, before its first step.

    It is the average of round `round`, scored on the samples at `shard_key`, `batch_size` at once.
    What comes of it, a `SliceScore` in JSON, is told at once: in the field of the worker of the
    hash `scores_key`.
    """

    round: int
    batch_size: int
    shard_key: str
    scores_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScore:
    """Sums over the slice's samples; `correct` counts labels, None where there are no classes.

    `labels` and what it means for `metric_sums` is as in `runtimes.base.Scored`.
    """

    samples: int
    loss_sum: float
    correct: int | None
    metric_sums: dict[str, float] = field(default_factory=dict)
    labels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Train steps `start_step` to `stop_step` of a client's sequence, on one of the workers.

    The state comes from `state_key`; with `initialise` it is made from the seed and published
    there by whoever is first. It goes to `update_key` when `stop_step` is reached, else to
    `checkpoint_key`. `samples_before` were seen in this round's earlier segments. A batch is cut
    into `micro_batches` parts; deadline and memory are looked at every `block_steps` steps, memory
    only with `heed_memory`.

    An update has the optimizer's tensors only where these are averaged. A client that keeps its own
    reads them from `optimizer_key` (None in its first round, and where the state is a checkpoint,
    which is always whole) and leaves them at `new_optimizer_key`. The learning rate follows
    `rate_schedule` over the client's `total_steps`, with so many `clients` in the run. With
    `tells_untrained`, an update's metadata names the tensors that gradients do not train. With
    `scores`, the state is scored before the first step.
    """

    task: Literal["train"] = "train"
    network: Network
    worker: int
    client: int
    round: int
    segment: int
    attempt: int
    batch_size: int
    start_step: int
    stop_step: int
    samples_before: int
    micro_batches: int
    block_steps: int
    heed_memory: bool
    shard_key: str
    state_key: str
    initialise: bool
    update_key: str
    checkpoint_key: str
    progress_key: str
    optimizer_state: OptimizerState = "average"
    optimizer_key: str | None = None
    new_optimizer_key: str | None = None
    rate_schedule: RateSchedule = field(default_factory=RateSchedule)
    total_steps: int = 0
    clients: int = 1
    terms: StepTerms | None = None
    keeps: ClientKeeps | None = None
    tells_untrained: bool = False
    scores: ScoreFirst | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReply:
    """What a train activation did; "continued-…" asks for the rest from `next_step`, and why.

    In every reply, `peak_mb` is what was charged to the container and `working_set_mb` what its
    processes had resident at most, in whole MB; the framework's is that after its import.
    """

    outcome: Literal["ok", "continued-time", "continued-memory"]
    next_step: int
    samples: int
    loss_sum: float
    train_s: float
    peak_mb: int
    working_set_mb: int | None = None
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    phases: Phases | None = None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Score the state at `state_key` on a slice of a held-out split, `batch_size` at once.

    With `model_key`, the model is also stored there as a file of its framework.
    """

    task: Literal["score"] = "score"
    network: Network
    worker: int
    round: int
    batch_size: int
    shard_key: str
    state_key: str
    model_key: str | None
    progress_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReply(SliceScore):
    """The score of a slice, by an activation of its own."""

    peak_mb: int
    working_set_mb: int | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One client's contribution to a round: where it is, what made it, and its weight.

    `worker` is the one that has trained it. `sums` are its weights in further sums, by name.
    """

    client: int
    worker: int
    attempt: int
    key: str
    samples: int
    weight: float
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Let a strategy make the next state of a round's updates.

    `strategy` has the values `parameters` of its fields, and is told `numbers` of the round. Their
    mean, or what it combines them to, lies at `mean_key` meanwhile; and further sums of their
    changes, `sums`, at `sums_key` (None where there are none). The round began with `before_key`;
    what the server keeps comes from `kept_key` (None before the first round) and goes to
    `new_kept_key`.
    """

    strategy: str
    parameters: dict[str, Any]
    mean_key: str
    before_key: str
    kept_key: str | None
    new_kept_key: str
    numbers: dict[str, float] = field(default_factory=dict)
    sums: tuple[str, ...] = ()
    sums_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRequest:
    """Make the state `state_key` of `updates`: their mean, or what `advance` makes of them.

    No updates are to start a container, and nothing else.
    """

    task: Literal["collect"] = "collect"
    round: int
    updates: tuple[Update, ...]
    state_key: str
    advance: Advance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedUpdate:
    """What went into an average; `checksum` is BLAKE2b-128 of the update's tensors as stored.

    `weight` is what it counted, where the strategy has looked at each update.
    """

    client: int
    worker: int
    attempt: int
    samples: int
    checksum: str
    weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectReply:
    """What went into an average; `left_out` says which clients' updates did not, and why."""

    updates: tuple[CollectedUpdate, ...]
    tensors: int
    bytes: int
    peak_mb: int
    left_out: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    working_set_mb: int | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Run a model over the samples at `input_key`, from `start_sample` on.

    It is the file of `runtime` at `model_key`. Its outputs, float32, go to `output_key`:
    probabilities for the classes of `target`, (samples, *target_shape, classes), or numbers,
    (samples, *target_shape) and at least (samples, 1). Deadline and memory are looked at before
    every batch of `batch_size`, memory only with `heed_memory`.
    """

    task: Literal["evaluate"] = "evaluate"
    runtime: RuntimeName
    worker: int
    threads: int | None
    batch_size: int
    start_sample: int
    heed_memory: bool
    target: TargetSpec
    model_key: str
    input_key: str
    output_key: str
    progress_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReply:
    """What an evaluate activation did; "continued-…" asks for the rest from `next_sample`."""

    outcome: Literal["ok", "continued-time", "continued-memory"]
    next_sample: int
    peak_mb: int
    working_set_mb: int | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """Say what this container is; every action understands it."""

    task: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReply:
    """A container's own account; `memory_limit_mb` is None where nothing limits it.

    `now_ms` is the time by its clock, `machine` its CPU's architecture, and `arithmetic` a digest
    of what its numpy makes of fixed numbers: where that differs, so do the last bits of weights.
    `gpu` is the name of its GPU, None where it sees none, and `gpu_memory_mb` all of its memory.
    """

    python: str
    packages: tuple[Package, ...]
    memory_limit_mb: int | None
    cpus: int
    peak_mb: int
    gpu: str | None = None
    gpu_memory_mb: int | None = None
    now_ms: int | None = None
    machine: str | None = None
    arithmetic: str | None = None


def to_json(message: object) -> dict[str, object]:
    """The JSON object of a request or reply (a dataclass instance)."""
    return asdict(message)  # type: ignore[call-overload,no-any-return]  # any dataclass of this module


def from_json(kind: type[T], fields: Mapping[str, object]) -> T:
    """The request or reply of type `kind` in a JSON object; keys that `kind` lacks are ignored.

    Raises:
        UsageError: a field is missing or of another type.
    """
    try:
        return dacite.from_dict(kind, fields, dacite.Config(cast=[tuple], check_types=True))
    except dacite.DaciteError as error:
        raise UsageError(f"not a {kind.__name__}: {error}") from error


def check_version(common: Common) -> None:
    """Refuse a request of another version.

    Raises:
        UsageError: the versions differ.
    """
    if common.v != WIRE_VERSION:
        older = "these actions, with" if common.v > WIRE_VERSION else "the controller to"
        raise UsageError(
            f"the controller speaks version {common.v} and this action version {WIRE_VERSION}: "
            f"update {older} the disdel of the other side"
        )
