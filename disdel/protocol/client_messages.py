"""What the controller tells actions that train clients of a federation, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from disdel.protocol.messages import Advance, ClientKeeps, Network, StepTerms
from disdel.types.phases import Phases


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """Scale each client's update down to the norm `bound`, in the updates' own unit.

    With `share`, each adds noise of that standard deviation: made of `seed` if that is given, and
    else of the operating system's generator or, where updates are masked, of the client's secret.
    """

    bound: float
    share: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSession:
    """A secure sum (`disdel/secure_aggregation`): whose, and where its stages are in the store.

    Attempt `attempt` at the sum of round `round`; the share `threshold` of its clients must answer
    to the end. `shared` have shared their secrets, and `summed` of them are in the sum: both are
    None before that is known, and then claimed in the hash `claims_key`, so that they never change.
    """

    run: str
    round: int
    attempt: int
    threshold: float
    claims_key: str
    advert_keys: tuple[str, ...] = ()
    share_keys: tuple[str, ...] = ()
    reveal_keys: tuple[str, ...] = ()
    shared: tuple[int, ...] | None = None
    summed: tuple[int, ...] | None = None

    def claimed_field(self, what: Literal["shared", "summed"]) -> str:
        """The field of the hash that has fixed one of the two sets of clients."""
        return f"secure:{self.round}:{self.attempt}:{what}"

    def claimed_fields(self) -> tuple[str, ...]:
        return (self.claimed_field("shared"), self.claimed_field("summed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureRequest:
    """One stage of a secure sum, for some clients; what they say goes to `to_key`."""

    task: Literal["secure"] = "secure"
    stage: Literal["advertise", "share", "reveal"]
    worker: int
    round: int
    clients: tuple[int, ...]
    session: SecureSession
    to_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureReply:
    clients: tuple[int, ...]
    peak_mb: int
    working_set_mb: int | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedNoise:
    """Noise for a sum of updates: of standard deviation `deviation`, in their unit.

    The key, in hexadecimal, is made for this sum alone.
    """

    key: str
    label: str
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTurn:
    """Steps `start_step` to `stop_step` of a client's sequence, in one round of a federation.

    The samples are at `shard_key`; where there is none, a function of the client's own loads those
    of `split`, `samples` in number where that is known. It trains on `uses` of them, drawn by the
    seed, or on all. The learning rate is multiplied by `rate_factor`. The update weighs `weight` in
    the round's mean, and `sums` in its further sums, by name. It goes to `update_key` where it is
    no part of a sum. `keeps` says what else the client is to keep. After its steps, which may be
    none, the client's model is scored on the samples at `score_keys`; or with `scores_own` on those
    of "test" that its function loads. With `model_key`, it is also stored there as a file of its
    framework. With `counts` it trains nothing, and says how many samples it has. With
    `asks_labels` it says how many of each class, if its code allows that.
    """

    client: int
    shard_key: str | None
    start_step: int
    stop_step: int
    batch_size: int
    weight: float
    rate_factor: float = 1.0
    update_key: str | None = None
    keeps: ClientKeeps | None = None
    samples: int | None = None
    split: Literal["train", "test"] = "train"
    score_keys: tuple[str, ...] = ()
    scores_own: bool = False
    uses: int | None = None
    model_key: str | None = None
    counts: bool = False
    asks_labels: bool = False
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """How far a client has come in its turn: its state at `state_key`, before step `next_step`."""

    state_key: str
    next_step: int
    samples: int
    loss_sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainClientsRequest:
    """Train clients in turn, each from the state at `state_key`, in one round of a federation.

    What each has changed is added up in units of 2**-`exponent` (`strategies/exact_sum.py`), and
    the sum goes to `sum_key` once the last has trained, or none of those left fits before the time
    limit; and with it further sums of what gradients train, whose `exponents` are given by name.
    Without an exponent each update is stored by itself. The first client goes on from
    `begun`; one that must stop leaves its state at `checkpoint_key`. After `until_s`, in seconds
    since the epoch, nobody waits for an answer, nor once the hash `open_key` tells that the round
    is over, where it is given. Scores are made `score_batch` samples at once. With `clipping` or
    `secure`, updates are protected and counted (`worker/protecting.py`).

    `initialise`, `micro_batches`, `block_steps`, `heed_memory`, `terms` and `tells_untrained` are
    those of `TrainRequest`.
    """

    task: Literal["clients"] = "clients"
    network: Network
    worker: int
    round: int
    segment: int
    attempt: int
    turns: tuple[ClientTurn, ...]
    micro_batches: int
    block_steps: int
    heed_memory: bool
    state_key: str
    initialise: bool
    exponent: int | None
    sum_key: str
    checkpoint_key: str
    progress_key: str
    open_key: str | None
    begun: Begun | None = None
    until_s: float | None = None
    terms: StepTerms | None = None
    tells_untrained: bool = False
    clipping: Clipping | None = None
    secure: SecureSession | None = None
    score_batch: int = 1
    exponents: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSums:
    """Sums over the samples that a client's model was scored on, as in `ScoreReply`."""

    samples: int
    loss_sum: float
    correct: int | None
    labels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientResult:
    """What a client did in its turn; `refused` says why its update does not count, or "".

    `checksum` is `worker/checksums.py`'s of the update's tensors. Of an update that is masked,
    there is none, and the loss is told in the sum alone. `score` is None where none was asked for,
    or where its loss is no finite number. Of `turn_s`, from its samples to its update, `train_s`
    went into steps: `steps_here`, which are fewer than `steps` where another activation began.
    `labels` is how many of its samples are of each class; empty where it does not say so.
    """

    client: int
    steps: int
    samples: int
    loss_sum: float
    train_s: float
    checksum: str = ""
    refused: str = ""
    score: ScoreSums | None = None
    turn_s: float = 0.0
    steps_here: int = 0
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainClientsReply:
    """What an activation of several clients did: `results` of those whose turn has ended.

    "continued-…" asks for the others' turns; the first of these goes on from `begun`, where it has
    that. "ok" with fewer results than turns: time was up. `moved_bytes` is what it read of states
    and stored of updates and sums.
    """

    outcome: Literal["ok", "continued-time", "continued-memory"]
    results: tuple[ClientResult, ...]
    steps: int
    train_s: float
    peak_mb: int
    moved_bytes: int = 0
    begun: Begun | None = None
    working_set_mb: int | None = None
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    phases: Phases | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRequest:
    """Make the next state of the sums at `sum_keys`, of `updates` updates with `weight` together.

    The round began with the state at `before_key`. The mean goes to `state_key`, or what `advance`
    makes of it. The sum is divided by `divisor` instead of its weight, where that is given, after
    `noise` was added. With `secure`, its masks are taken away at first. `exponent` is that of the
    round, `exponents` are those of its further sums by name, and `counts` is how many numbers the
    sums have at their end. Each sum counts
    `factors` of its weight, where these are given: it is of clients that began with an earlier
    state.
    """

    task: Literal["combine"] = "combine"
    round: int
    sum_keys: tuple[str, ...]
    updates: int
    weight: float
    before_key: str
    state_key: str
    advance: Advance | None = None
    exponent: int | None = None
    divisor: float | None = None
    noise: AddedNoise | None = None
    secure: SecureSession | None = None
    counts: int = 0
    factors: tuple[float, ...] = ()
    exponents: dict[str, int] = field(default_factory=dict)
