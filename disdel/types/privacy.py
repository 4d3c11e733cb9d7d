"""What clients are promised: differential privacy, and sums that show no single update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

NoiseSide = Literal["server", "clients"]
AccountantName = Literal["rdp", "pld"]

DEFAULT_DELTA = 1e-5
DEFAULT_THRESHOLD = 2 / 3
LEAST_SECURE_CLIENTS = 3
_DEFAULT_QUANTILE = 0.5
_GROUP = "Privacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """How clients are protected; without `clip` and `secure_aggregation` they are not.

    Attributes:
        clip: the bound C on the norm of a client's update; the first one, if it adapts.
        noise: the multiplier z: a round's sum gets noise of standard deviation z C.
        epsilon: what all rounds may cost together.
        delta: at which cost is told; None for 1e-5.
        adaptive: whether the bound goes to a quantile of the clients' norms.
        quantile: which one.
        side: who adds the noise.
        accountant: how cost is composed.
        noise_seed: of noise that can be made again, and hides nothing.
        secure_aggregation: whether only sums of updates leave the containers that train.
        threshold: the share of a cohort that must answer to the end for a secure sum.

    Raises:
        UsageError: a value is of another type or out of range, or is without what it needs.
    """

    clip: Annotated[
        float | None,
        Setting(
            "Clip a client's update to this norm; needed for differential privacy.",
            name="dp_clip",
            above=0,
            high=1_000_000,
            group=_GROUP,
        ),
    ] = None
    noise: Annotated[
        float | None,
        Setting(
            "Noise multiplier: the standard deviation of a sum's noise, in clipping bounds.",
            name="dp_noise",
            above=0,
            high=1_000_000,
            group=_GROUP,
        ),
    ] = None
    epsilon: Annotated[
        float | None,
        Setting(
            "Privacy budget: stop before it is spent, and choose the noise if that is not given.",
            name="dp_epsilon",
            above=0,
            high=1_000_000,
            group=_GROUP,
        ),
    ] = None
    delta: Annotated[
        float | None,
        Setting(
            "The delta of (epsilon, delta), below one over the number of clients.",
            name="dp_delta",
            above=0,
            high=0.5,
            default=f"{DEFAULT_DELTA:g}",
            group=_GROUP,
        ),
    ] = None
    adaptive: Annotated[
        bool,
        Setting(
            "Let the clipping bound follow a quantile of the clients' norms, from --dp-clip on.",
            name="dp_adaptive",
            group=_GROUP,
        ),
    ] = False
    quantile: Annotated[
        float,
        Setting(
            "The quantile that --dp-adaptive follows.",
            name="dp_quantile",
            above=0,
            high=1,
            group=_GROUP,
        ),
    ] = _DEFAULT_QUANTILE
    side: Annotated[
        NoiseSide,
        Setting(
            "Who adds the noise: the server to the sum, or each client its share.",
            name="dp_side",
            group=_GROUP,
        ),
    ] = "server"
    accountant: Annotated[
        AccountantName,
        Setting(
            "How the cost of rounds is composed: fast, or tighter for --select poisson.",
            name="dp_accountant",
            group=_GROUP,
        ),
    ] = "rdp"
    noise_seed: Annotated[
        int | None,
        Setting(
            "Seed of noise that can be made again, for experiments: it protects nobody.",
            name="dp_seed",
            low=0,
            high=2**32 - 1,
            default="the operating system's generator",
            group=_GROUP,
        ),
    ] = None
    secure_aggregation: Annotated[
        bool,
        Setting("Mask updates, so that only their sum can be read.", group=_GROUP),
    ] = False
    threshold: Annotated[
        float | None,
        Setting(
            "Share of a round's clients that must answer to the end for a secure sum.",
            above=0.5,
            high=1,
            default="2/3",
            group=_GROUP,
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)
        noisy = self.noise is not None or self.epsilon is not None
        if self.clip is None:
            for flag in self._flags_of_dp():
                raise UsageError(f"{flag} is about differential privacy, which needs --dp-clip C")
        elif not noisy:
            raise UsageError(
                "--dp-clip by itself hides nobody: add --dp-noise Z, or --dp-epsilon E for a budget"
            )
        if self.quantile != _DEFAULT_QUANTILE and not self.adaptive:
            raise UsageError("--dp-quantile is what --dp-adaptive follows: add that")
        if self.adaptive and self.side == "clients":
            raise UsageError(
                "--dp-adaptive counts clipped updates and lets the server add noise to the count; "
                "with --dp-side clients, give a fixed bound"
            )
        if self.threshold is not None and not self.secure_aggregation:
            raise UsageError("--threshold is of --secure-aggregation: add that")

    def check_cohort(self, clients: int, asked: int) -> None:
        """Refuse what would protect nobody among so many clients, of whom so many train in a round.

        Raises:
            UsageError: it would.
        """
        if self.is_differential and self.told_delta >= 1 / clients:
            raise UsageError(
                f"--dp-delta {self.told_delta:g} must be below 1/{clients} = {1 / clients:.3g}, "
                "one over the number of clients: else publishing one client's data whole would pass"
            )
        if self.secure_aggregation and asked < LEAST_SECURE_CLIENTS:
            raise UsageError(
                f"a sum of {asked} updates hides no single one: --secure-aggregation needs at "
                f"least {LEAST_SECURE_CLIENTS} clients a round"
            )

    @property
    def is_differential(self) -> bool:
        return self.clip is not None

    @property
    def told_delta(self) -> float:
        return DEFAULT_DELTA if self.delta is None else self.delta

    @property
    def told_threshold(self) -> float:
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    def _flags_of_dp(self) -> list[str]:
        given = {
            "--dp-noise": self.noise is not None,
            "--dp-epsilon": self.epsilon is not None,
            "--dp-delta": self.delta is not None,
            "--dp-adaptive": self.adaptive,
            "--dp-side": self.side != "server",
            "--dp-accountant": self.accountant != "rdp",
            "--dp-seed": self.noise_seed is not None,
        }
        return [flag for flag, is_given in given.items() if is_given]
