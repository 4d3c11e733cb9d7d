"""A federation: clients that keep their data, of which some train in each round."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import PurePath
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.types.by_client import (
    LISTS,
    Runs,
    as_text,
    by_client,
    check_clients,
    largest,
    read_runs,
)
from disdel.types.client_scores import Part
from disdel.types.evaluating import Evaluating
from disdel.types.job import TrainJob
from disdel.types.lateness import DROP, Lateness, read_lateness
from disdel.types.learning import AUTO, DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE, MAX_ROUNDS, LearningJob
from disdel.types.names import OPTIMIZERS, Balance
from disdel.types.privacy import Privacy
from disdel.types.setting import Setting

MAX_CLIENTS = 1_000_000
DEFAULT_CLIENTS = 10
# A plan is made for a cohort that is like the others, of at most so many clients.
_PLANNED_CLIENTS = 10_000
_FEDERATION = "Federation"
POISSON = "poisson"


@dataclass(frozen=True, slots=True, kw_only=True)
class FederateJob(LearningJob):
    """What the user asked for; None leaves the containers to the planner.

    `optimizer` is None for that of the user's model, else sgd. A client's optimizer begins anew in
    each round. A learning rate's schedule goes by rounds: all steps of a round have one rate, and
    a warm-up is so many rounds.

    Attributes:
        clients: the roster; None for as many as the partition makes, where it decides that.
        clients_per_round: of the roster, how many are to answer; below 1 a share; None for all.
        local_epochs: a client's passes over its own samples in a round; this and the next four
            are a number, or a list by client or group, as `disdel.types.by_client` reads it.
        client_batch: a client's batch size, where it is not the job's.
        client_rate: its learning rate, likewise.
        client_samples: how many of its own samples it trains on at most.
        client_memory_mb: the memory limit of the containers that it trains in.
        balance: what is given to each client by its measured speed, instead of the same to all.
        containers: that the clients of a round are dealt to; each trains its own in turn.
        data: the function that loads a client's own samples in the action; None where the training
            samples of the data set are dealt to clients.
        select: who of the roster is asked in a round, as `disdel.selection` reads it.
        available: who is there to be asked, likewise; None for all.
        deadline_s: what comes later than this after a round's start is late.
        min_clients: a round fails where fewer have answered; None for as many as are to answer.
        over_select: so many times as many are asked as are to answer, and the round ends with those
            that answer first.
        late: what becomes of those that come later, as `disdel.types.lateness` reads it.
        evaluating: what is scored by client.
        privacy: what is promised to the clients.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_FEDERATE_"
    # What a user may say one of; what is made without a user has defaults of both.
    APART: ClassVar[tuple[tuple[str, str], ...]] = (
        ("batch", "client_batch"),
        ("learning_rate", "client_rate"),
    )

    optimizer: Annotated[
        str | None,
        Setting(f"{', '.join(OPTIMIZERS)}.", metavar="NAME", default="your model's own, else sgd"),
    ] = None
    clients: Annotated[
        int | None,
        Setting(
            "Clients that the training samples are dealt to.",
            low=1,
            high=MAX_CLIENTS,
            default=f"{DEFAULT_CLIENTS}, or as many as the partition makes",
            group=_FEDERATION,
        ),
    ] = None
    clients_per_round: Annotated[
        float | None,
        Setting(
            "Clients that train in a round: their number, or below 1 a share.",
            metavar="N|SHARE",
            above=0,
            high=MAX_CLIENTS,
            default="all",
            group=_FEDERATION,
        ),
    ] = None
    rounds: Annotated[int, Setting("Rounds.", low=1, high=MAX_ROUNDS, group=_FEDERATION)] = 10
    local_epochs: Annotated[
        float | str,
        Setting(
            "A client's passes over its own samples in a round; 0.5 is half of one. One number, "
            "one for each client (1,2,5), or VALUE*COUNT by groups (5*10,10*90: 5 for 10 clients).",
            metavar="E|LIST",
            also=LISTS,
            group=_FEDERATION,
        ),
    ] = 1.0
    client_batch: Annotated[
        float | str | None,
        Setting(
            "Batch sizes by client, likewise, instead of --batch.",
            metavar="LIST",
            also=LISTS,
            group=_FEDERATION,
        ),
    ] = None
    client_rate: Annotated[
        float | str | None,
        Setting(
            "Learning rates by client, likewise, instead of --learning-rate.",
            metavar="LIST",
            also=LISTS,
            group=_FEDERATION,
        ),
    ] = None
    client_samples: Annotated[
        float | str | None,
        Setting(
            "How many of its own samples a client trains on at most, likewise.",
            metavar="N|LIST",
            also=LISTS,
            default="all",
            group=_FEDERATION,
        ),
    ] = None
    client_memory_mb: Annotated[
        float | str | None,
        Setting(
            "Memory by client, likewise: it trains in containers of so many MB.",
            metavar="MB|LIST",
            also=LISTS,
            default="the planner's",
            group=_FEDERATION,
        ),
    ] = None
    balance: Annotated[
        Balance | None,
        Setting(
            "Give each client as much to do as its speed allows, so that all of a round end "
            "together: slow ones train on fewer samples, or everybody for other epochs.",
            default="none",
            group=_FEDERATION,
        ),
    ] = None
    containers: Annotated[
        int | None,
        Setting(
            "Train containers at the same time; each trains its clients in turn.",
            words=AUTO,
            low=1,
            high=10_000,
            group=_FEDERATION,
        ),
    ] = None
    data: Annotated[
        str | None,
        Setting(
            "Clients load samples of their own where they train, by FUNCTION(client, split); the "
            "data set gives shapes, classes and the test split.",
            metavar="FILE.py:FUNCTION",
            default="the data set's, by --partition",
            group=_FEDERATION,
        ),
    ] = None
    select: Annotated[
        str,
        Setting(
            "Who trains in a round: uniform, poisson, size, round-robin, power-of-choice[:d=N], "
            "fastest[:floor=SHARE], warm[:floor=SHARE].",
            metavar="NAME[:PARAMETERS]",
            group=_FEDERATION,
        ),
    ] = "uniform"
    available: Annotated[
        str | None,
        Setting(
            "Who is there in a round: each with this probability, or by a trace of rounds.",
            metavar="PROBABILITY|FILE.csv",
            also="float | Path",
            default="all",
            group=_FEDERATION,
        ),
    ] = None
    deadline_s: Annotated[
        float | None,
        Setting(
            "A round ends so long after its start; what comes later is late.",
            above=0,
            high=10_000_000,
            default="none",
            group=_FEDERATION,
        ),
    ] = None
    min_clients: Annotated[
        int | None,
        Setting(
            "Fail a round in which fewer clients answer.",
            low=1,
            high=MAX_CLIENTS,
            default="as many as --clients-per-round, or with poisson 1, or 0 with --dp-clip",
            group=_FEDERATION,
        ),
    ] = None
    over_select: Annotated[
        float,
        Setting(
            "Ask F times as many clients as a round needs, and take those that answer first.",
            low=1,
            high=1000,
            group=_FEDERATION,
        ),
    ] = 1.0
    late: Annotated[
        str,
        Setting(
            "What becomes of updates that come when their round has ended by --deadline or "
            "--over-select: drop them, or weigh them into a later round by (1 + rounds)^-power.",
            metavar="drop|weigh[:power=P,max_staleness=N]",
            group=_FEDERATION,
        ),
    ] = DROP
    evaluating: Evaluating = field(default_factory=Evaluating)
    privacy: Privacy = field(default_factory=Privacy)

    def __post_init__(self) -> None:
        for name, kind in _BY_CLIENT.items():
            object.__setattr__(self, name, as_text(kind.flag, getattr(self, name)))
        there: object = self.available
        if not isinstance(there, bool) and isinstance(there, Real):
            object.__setattr__(self, "available", str(float(there)))
        elif isinstance(there, PurePath):
            object.__setattr__(self, "available", str(there))
        LearningJob.__post_init__(self)
        self._check_privacy()
        self._check_late()
        if self.balance is not None and self.rounds == 1:
            raise UsageError(
                f"--balance {self.balance} goes by what clients took in rounds before, and with "
                "--rounds 1 there are none: ask for more rounds, or leave --balance out"
            )
        for name in _BY_CLIENT:
            self._runs(name)
        if self.client_batch is not None and self.batch_size != DEFAULT_BATCH_SIZE:
            raise UsageError("--batch and --client-batch say the same: leave one of them out")
        if self.client_rate is not None and self.learning_rate is not None:
            raise UsageError(
                "--learning-rate and --client-rate say the same: leave one of them out"
            )
        if self.data is not None and self.partition != "iid":
            raise UsageError(
                f"--partition {self.partition} deals the samples of a data set, and with --data "
                "clients have their own: leave one of the two out"
            )
        if self.data is not None and self.evaluating.holdout is not None:
            raise UsageError(
                "--client-holdout holds out samples that disdel deals, and with --data clients "
                'have their own: what the function loads for the split "test" is held out'
            )
        if self.evaluating.personalize is not None and not self._holds_out:
            raise UsageError(
                "--personalize trains on a client's samples and must be scored on others: add "
                "--client-holdout 0.2"
            )
        if self.data is not None and self.client_samples is not None:
            raise UsageError(
                "--client-samples leaves out samples that disdel deals, and with --data clients "
                "have their own: let the function load fewer"
            )
        wanted = self.clients_per_round
        if wanted is not None and wanted >= 1:
            if wanted % 1:
                raise UsageError(
                    f"--clients-per-round {wanted:g} is neither a whole number nor below 1"
                )
            # So a report has 6 and not 6.0.
            object.__setattr__(self, "clients_per_round", int(wanted))
            if self.clients is not None and wanted > self.clients:
                raise UsageError(
                    f"--clients-per-round {wanted:g} is more than --clients {self.clients}"
                )
        if self.clients is not None:
            for name, kind in _BY_CLIENT.items():
                if (runs := self._runs(name)) is not None:
                    check_clients(kind.flag, runs, self.clients)
            if wanted is not None and wanted * self.clients < 0.5:
                raise UsageError(
                    f"--clients-per-round {wanted:g} of {self.clients} clients is none: say how "
                    "many, from 1"
                )
            self._check_cohort()
            self.evaluating.check_kept(self.clients)
        if self.rate_schedule.warmup > self.rounds:
            raise UsageError(
                f"--warmup {self.rate_schedule.warmup:.0f} is longer than the run: in a federation "
                f"it counts rounds, and there are {self.rounds}"
            )

    def _check_cohort(self) -> None:
        if self.over_select > 1 and self.wanted == self.roster:
            raise UsageError(
                f"--over-select {self.over_select:g} asks more clients than a round needs, and a "
                f"round needs all {self.roster}: add --clients-per-round, below {self.roster}"
            )
        if self.min_clients is not None and self.min_clients > self.asked:
            raise UsageError(
                f"--min-clients {self.min_clients} is more than the {self.asked} clients that a "
                "round asks: lower it, or raise --clients-per-round or --over-select"
            )
        if self.containers is not None and self.containers > self.asked:
            raise UsageError(
                f"--containers {self.containers} is more than the {self.asked} clients that a "
                f"round asks: use --containers {self.asked} or fewer"
            )
        self.privacy.check_cohort(self.roster, self.asked)

    @property
    def _holds_out(self) -> bool:
        """Whether clients have samples that they do not train on."""
        return self.evaluating.holdout is not None or self.data is not None

    @property
    def scored_part(self) -> Part:
        """Which of a client's own samples models are scored on."""
        return "held-out" if self._holds_out else "train"

    @property
    def roster(self) -> int:
        """How many clients there are."""
        return self.clients or DEFAULT_CLIENTS

    def _check_privacy(self) -> None:
        privacy = self.privacy
        if privacy.secure_aggregation:
            self.evaluating.check_hidden()
        if privacy.is_differential and self.average != "equal":
            raise UsageError(
                "under differential privacy every client counts the same, since a weight by "
                "samples would let one client move the sum by more than --dp-clip: add --average "
                "equal"
            )
        if self.select == POISSON and self.over_select > 1:
            raise UsageError(
                "--over-select is for cohorts of one size, and --select poisson asks each client "
                "by chance: raise --clients-per-round instead"
            )
        for flag, is_given in (
            ("--over-select", self.over_select > 1),
            ("--deadline", self.deadline_s is not None),
            ("--balance", self.balance is not None),
        ):
            if privacy.is_differential and is_given:
                raise UsageError(
                    f"{flag} lets one client's speed decide on another's update, and --dp-clip "
                    "then bounds neither: leave it out"
                )

    def _check_late(self) -> None:
        if self.lateness is None:
            return
        if not self.may_end_early:
            raise UsageError(
                f"--late {self.late} is for rounds that end before all have answered: add "
                "--deadline or --over-select, or leave it out (fedbuff and fedasync have no such "
                "rounds, and weigh updates by their age themselves)"
            )
        why = None
        if self.privacy.is_differential:
            why = "--dp-clip bounds what a client adds to one round, and not to two at once"
        elif self.privacy.secure_aggregation:
            why = "--secure-aggregation masks the updates of one round for its own sum"
        elif self.balance is not None:
            why = f"--balance {self.balance} gives slow clients less to do, so that none is late"
        if why is not None:
            raise UsageError(
                f"--late {self.late} does not go with it: {why}. Leave out one of them"
            )

    @property
    def lateness(self) -> Lateness | None:
        """How late updates are weighed; None where they are dropped."""
        return read_lateness(self.late)

    @property
    def wanted(self) -> int:
        """How many clients are to answer in a round."""
        if self.clients_per_round is None:
            return self.roster
        if self.clients_per_round < 1:
            return max(1, round(self.clients_per_round * self.roster))
        return int(self.clients_per_round)

    @property
    def asked(self) -> int:
        """How many clients are asked in a round."""
        return min(self.roster, math.ceil(self.wanted * self.over_select))

    @property
    def may_end_early(self) -> bool:
        """Whether a round may end before all who were asked have answered or failed."""
        return self.deadline_s is not None or self.over_select > 1

    @property
    def least(self) -> int:
        """How many must answer; of a cohort drawn by chance, as few as make a round."""
        if self.min_clients is not None:
            return self.min_clients
        if self.select == POISSON:
            # Under differential privacy, a round that asks nobody is noise alone.
            return 0 if self.privacy.is_differential else 1
        return self.wanted

    def of_clients(self, name: str) -> NDArray[np.float64] | None:
        """A setting that may differ from client to client, (clients,); None where it is not given.

        Raises:
            UsageError: it is given for more or fewer clients.
        """
        runs = self._runs(name)
        return None if runs is None else by_client(_BY_CLIENT[name].flag, runs, self.roster)

    def _runs(self, name: str) -> Runs | None:
        value, kind = getattr(self, name), _BY_CLIENT[name]
        if value is None:
            return None
        return read_runs(kind.flag, value, low=kind.low, high=kind.high, whole=kind.whole)

    @property
    def as_training(self) -> TrainJob:
        """What a training needs to know, of which a cohort's clients are the clients."""
        shared = {field.name: getattr(self, field.name) for field in fields(LearningJob)}
        if (batches := self._runs("client_batch")) is not None:
            shared["batch_size"] = int(largest(batches))
        if (rates := self._runs("client_rate")) is not None:
            shared["learning_rate"] = largest(rates)
        return TrainJob(
            **shared,
            workers=self.containers,
            clients=max(self.containers or 1, min(self.asked, _PLANNED_CLIENTS)),
            optimizer_state="reset",
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a number by client is called, and its range."""

    flag: str
    low: float
    high: float
    whole: bool = False


_BY_CLIENT = {
    "local_epochs": _Kind("--local-epochs", 1e-6, 10_000),
    "client_batch": _Kind("--client-batch", 1, MAX_BATCH_SIZE, whole=True),
    "client_rate": _Kind("--client-rate", 1e-12, 1000),
    "client_samples": _Kind("--client-samples", 1, 2**31, whole=True),
    "client_memory_mb": _Kind("--client-memory", 1, 2**31, whole=True),
}


def steps_of_round(samples: int, batch_size: int, epochs: float) -> int:
    """The steps of a client of so many samples, which has some: at least 1."""
    # 0.1 · 30 is 3 steps, whatever the last bit of the product says.
    return max(1, math.ceil(round(epochs * math.ceil(samples / batch_size), 6)))
