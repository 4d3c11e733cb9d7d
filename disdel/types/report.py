"""What happened: activations, rounds, scores, and the report of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from disdel.types.client_scores import ClientScores, Spread
from disdel.types.dealt import LabelMap
from disdel.types.flower import FlowerReport
from disdel.types.names import (
    Ending,
    EstimatorName,
    Objective,
    Outcome,
    Precision,
    RuntimeName,
    Split,
)
from disdel.types.phases import Phases
from disdel.types.plan import ContainerSize, EndpointPlan, Option, Zones
from disdel.types.scores import Evaluation, NumberEvaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRecord:
    """One finished activation, as the platform recorded it.

    `init_ms` is None on a warm start. `wait_ms` is the time from the request to the start of init
    or run, container creation included. `ending` is how it ended, and `result` what it answered,
    or the platform's own words on why it did not.
    """

    id: str
    action: str
    start_ms: int
    duration_ms: int
    wait_ms: int
    init_ms: int | None
    ending: Ending
    result: object
    logs: tuple[str, ...] = ()


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
        worker: whose container it ran in; None of collectWeights.
        client: whose samples it trained on; None where it did not train.
        clients: of a federation, those whose turns it was sent; not all may have begun.
        peak_mb: the most that was charged to its container; None when it died unmeasured.
        working_set_mb: the most that its container's processes had resident so far, mapped library
            pages included whoever they are charged to; None when it died unmeasured.
        framework_anonymous_mb: anonymous memory after the framework's import, of a train action.
        framework_mapped_mb: mapped file pages at that time.
        steps: training steps taken.
        train_s: the time of these steps.
        times: when it was sent, started and answered.
        phases: what it did when; None when it failed.
        precision: what its training steps computed in; None where it says nothing of it.
        endpoint: where it ran, of a platform that is several.
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
    client: int | None = None
    clients: tuple[int, ...] = ()
    working_set_mb: int | None = None
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    steps: int = 0
    train_s: float | None = None
    times: Times | None = None
    phases: Phases | None = None
    precision: Precision | None = None
    endpoint: str | None = None

    def serves(self, client: int) -> bool:
        """Whether it was a client's."""
        return client == self.client or client in self.clients


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One client's part in one average: what it was made of, and a checksum of what was averaged.

    `worker` has trained it. `attempt` counts the activations that were lost or overtaken before
    this one; `samples` made the part, and are its weight unless all weigh the same. `client` is
    None in reports of before there were clients, which were the workers. Of a federation, `weight`
    is what the update counted in the mean, `steps` were taken in `train_s` seconds, `loss` is their
    mean over the samples, and `staleness` the rounds between the state that the client began with
    and this one. `own_loss` and `own_accuracy` are those of the client's model before the average,
    on the split that rounds are scored on, where that was asked for. `bytes` is the client's part
    of what went between the store and its container: of a state read, and a sum stored, once for
    several clients, each has the same part.
    """

    round: int
    worker: int
    attempt: int
    samples: int
    checksum: str
    client: int | None = None
    weight: float | None = None
    steps: int | None = None
    loss: float | None = None
    staleness: int = 0
    own_loss: float | None = None
    own_accuracy: float | None = None
    # Not what the round came to: the same update may take longer, or another way.
    train_s: float | None = field(default=None, compare=False)
    bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedClient:
    """A client that was asked in a round and is not in its average, and why.

    `ended_container` says that its container has ended while it alone trained there, so often that
    it is taken for the cause.
    """

    client: int
    why: str
    ended_container: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsReport:
    """The clients of a round of a federation: how many were asked, and how many have answered.

    These are in the average, and beside them `late` updates of earlier rounds.
    `bytes` is what of states, updates and sums went between the store and the containers that
    trained; samples are not counted.
    """

    asked: int
    answered: int
    dropped: tuple[DroppedClient, ...] = ()
    # Of the clients' models before the average, on the split that rounds are scored on.
    own_loss: Spread | None = None
    own_accuracy: Spread | None = None
    bytes: int | None = field(default=None, compare=False)
    late: int = 0

    @property
    def shown(self) -> str:
        """How many have answered of those asked, and how many updates came late."""
        return f"{self.answered}/{self.asked}" + (f"+{self.late}" if self.late else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyReport:
    """What clients have been promised up to a round, under differential privacy.

    Attributes:
        epsilon: that all rounds up to this one have cost, at `delta`.
        delta: of (ε, δ).
        noise: the multiplier: the sum's noise has standard deviation `noise` · `clip`.
        clip: the bound of an update's norm in this round, and
        next_clip: in the next one.
        sampling: how the cohort was drawn, and
        relation: by what data sets differ that cannot be told apart.
        clients: of whom the cohort was drawn.
        cohort: how many were drawn, or expected to be.
        seeded: whether noise and cohorts are from a seed, so that `epsilon` protects nobody.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    next_clip: float
    sampling: Literal["poisson", "fixed", "all"]
    relation: str
    clients: int
    cohort: int
    seeded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTimes:
    """Where a round's time went: each moment counts once, as the first of these that happens in it.

    Attributes:
        training_s: at least one container trains.
        start_s: containers start, import, fetch samples and build the network.
        weights_s: weights are loaded or stored.
        aggregation_s: updates are joined.
        scoring_s: models are scored.
        invocation_s: requests and answers are on their way.
    """

    training_s: float
    start_s: float
    weights_s: float
    aggregation_s: float
    scoring_s: float
    invocation_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """One round: the workers' training loss, and the average's score on held-out samples.

    `loss` is None where the round was not scored, and `accuracy` also where there are no classes;
    `metrics` are further means by name. `clients` are those of a federation, `privacy` is what they
    have been promised, and `client_scores` are the average's on their own samples. `times` is where
    the time between the first request and the last answer went.
    """

    round: int
    wall_s: float
    train_loss: float | None
    loss: float | None = None
    accuracy: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    clients: ClientsReport | None = None
    privacy: PrivacyReport | None = None
    client_scores: ClientScores | None = None
    times: RoundTimes | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over a run; `memory_mb` sums the limits of all containers that were created.

    `overtaken` counts activations whose copy was faster and of which nothing more was heard.
    """

    containers: int
    cold: int
    restarted: int
    failed: int
    failure_rate: float
    memory_mb: int
    gb_s: float
    init_s: float
    overtaken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """Samples that a worker works on; `client` is whose they are, in a training."""

    worker: int
    samples: int
    client: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReport:
    """What one endpoint of several did in a run; `usd` is None where nobody has named a price."""

    endpoint: str
    platform: str
    containers: int
    activations: int
    failed: int
    gb_s: float
    init_s: float
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What a report tells of a plan, in the words of `Plan` and `InferPlan`.

    `estimate_mb` is by part, with their sum as `total`. What only a training has is None in the
    plan of an inference, and `batch_size` in that of a training.
    """

    runtime: RuntimeName | None = None
    workers: int
    memory_mb: int
    collect_memory_mb: int | None = None
    fan_in: int | None = None
    micro_batches: int | None = None
    batch_size: int | None = None
    rounds: int
    timeout_s: float
    threads: int | None = None
    predicted_s: float
    gb_s: float
    shards: tuple[ShardReport, ...] = ()
    estimate_mb: dict[str, float]
    invocations: int | None = None
    optimize: Objective | None = None
    estimator: EstimatorName | None = None
    basis: str | None = None
    zones_mb: Zones | None = None
    considered: tuple[Option, ...] = ()
    reasons: tuple[str, ...]
    gpu_memory_mb: int | None = None
    score_every: int | None = None
    throttled_s: float | None = None
    endpoints: tuple[EndpointPlan, ...] = ()
    sizes: tuple[ContainerSize, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What one split was used for.

    Attributes:
        samples: how many it has.
        held_out: whether they were held out of the data set's training split.
        use: of the test split "result", where it was touched once, by the finished model, and
            "rounds and result" where nothing was decided; of the training split "shapes", where
            clients have samples of their own, and these say only what such samples are like.
    """

    split: Split
    samples: int
    held_out: bool
    use: Literal["training", "shapes", "decisions", "result", "rounds and result", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything that is known of a run; `types/report_json.py` gives it its wire form.

    `accuracy`, `loss` and the further `metrics` are those of `model_round`, whose average the model
    is, on the test split or, of an inference, on its samples. `scored_on` is the split on which the
    rounds were scored; None in reports of version 1, where what decided was what tested, too.
    `stopped` says why a run ended before its last round, and `resumed_after` which round was the
    last complete one when this controller took it up. `client_scores` are the model's on the own
    samples of a federation's clients. `rounds_to_target` is the first round that has reached
    `target_accuracy`, and None where none has. `label_map` is what a federation's clients were
    dealt, and `flower` what a Flower app and its nodes have said to each other. `endpoints` is
    what each has done of a platform that is several.
    """

    run: str
    job: Literal["train", "federate", "infer", "flower"]
    dataset: str
    platform: str
    status: Literal["running", "ok", "failed", "interrupted", "lost"]
    error: ErrorReport | None = None
    accuracy: float | None = None
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    wall_s: float
    model: str | None = None
    settings: dict[str, object] = field(default_factory=dict)
    splits: tuple[SplitReport, ...] = ()
    scored_on: Split | None = None
    plan: PlanReport | None = None
    rounds: tuple[RoundReport, ...] = ()
    activations: tuple[Activation, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    totals: Totals | None = None
    model_round: int | None = None
    stopped: str | None = None
    resumed_after: int | None = None
    evaluation: Evaluation | NumberEvaluation | None = None
    rounds_to_target: int | None = None
    label_map: LabelMap | None = None
    client_scores: ClientScores | None = None
    endpoints: tuple[EndpointReport, ...] = ()
    flower: FlowerReport | None = None
