"""What is asked of a federation's scores by client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

_GROUP = "Evaluation by clients"
# Each is a file, and passes the controller by itself.
MOST_KEPT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluating:
    """Which models are scored, on which samples; with nothing given, only the server's is.

    Attributes:
        holdout: the share of its own samples that each client keeps out of its training.
        clients: score the server's model on every client's own samples: after so many rounds each,
            and at the end; 0 for the end alone, None for never.
        before_average: whether each client's model is scored before it goes into the average, on
            the split and in the rounds in which that is scored.
        personalize: a client's passes over its own samples, from the server's model on, before that
            is scored once more on what the client holds out.
        keep_personal: whether the models that clients have trained so from the finished one are
            kept as files.

    Raises:
        UsageError: a value is of another type or out of range, or is without what it needs.
    """

    holdout: Annotated[
        float | None,
        Setting(
            "Share of its own samples that each client holds out of training, to score models on.",
            name="client_holdout",
            metavar="SHARE",
            above=0,
            high=1,
            group=_GROUP,
        ),
    ] = None
    clients: Annotated[
        int | None,
        Setting(
            "Score the model on every client's own samples (those held out, else those trained "
            "on): every N rounds and at the end, or at the end alone.",
            name="evaluate_clients",
            metavar="end|N",
            words={"end": 0},
            low=0,
            high=1_000_000,
            default="end with --client-holdout or --personalize, else never",
            group=_GROUP,
        ),
    ] = None
    before_average: Annotated[
        bool,
        Setting(
            "Score each client's model on the held-out split, too, before it is averaged.",
            group=_GROUP,
        ),
    ] = False
    personalize: Annotated[
        float | None,
        Setting(
            "Train the model further on each client's own samples for E epochs, and score it "
            "before and after on those it holds out.",
            metavar="E",
            above=0,
            high=10_000,
            group=_GROUP,
        ),
    ] = None
    keep_personal: Annotated[
        bool,
        Setting(
            "Keep each client's model of --personalize in the run's folder, as "
            f"personal/CLIENT.keras or .safetensors; for at most {MOST_KEPT} clients.",
            group=_GROUP,
        ),
    ] = False

    def __post_init__(self) -> None:
        take_fields(self)
        if self.holdout == 1:
            raise UsageError("--client-holdout 1 leaves no sample to train on: it must be below 1")
        if self.keep_personal and self.personalize is None:
            raise UsageError(
                "--keep-personal keeps the models that --personalize makes: add --personalize E"
            )

    def check_kept(self, clients: int) -> None:
        """Refuse to keep a model of each of so many clients.

        Raises:
            UsageError: they are too many.
        """
        if self.keep_personal and clients > MOST_KEPT:
            raise UsageError(
                f"--keep-personal would keep {clients} models, one of each client, and keeps at "
                f"most {MOST_KEPT}: leave it out, or take fewer --clients"
            )

    @property
    def is_asked(self) -> bool:
        """Whether the server's model is scored by client at all."""
        return any(given is not None for given in (self.clients, self.holdout, self.personalize))

    def is_due(self, number: int) -> bool:
        """Whether that is so after round `number`, of which more may follow."""
        return bool(self.clients) and number % (self.clients or 1) == 0

    @property
    def tells(self) -> bool:
        """Whether the report tells how a model does on, or of, single clients."""
        return self.is_asked or self.before_average

    def check_hidden(self) -> None:
        """Refuse scores where single clients are to show nothing.

        Raises:
            UsageError: some are asked for.
        """
        if self.tells:
            flag = "--before-average" if self.before_average else "--evaluate-clients"
            flag = "--client-holdout" if self.holdout is not None else flag
            raise UsageError(
                f"{flag} tells how a model does on single clients, and --secure-aggregation hides "
                "all of them but their sum: leave one of the two out"
            )
