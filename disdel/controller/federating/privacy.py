"""Differential privacy of a federation's clients: what a round costs, and when the budget ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.errors import StrategyFailed, UsageError
from disdel.privacy.accounting import NoisyRound, Sampling, epsilon_of, noise_for
from disdel.privacy.clipping import AdaptiveClip, check_bound, rounding_norm
from disdel.privacy.noise import (
    Noise,
    check_deviation,
    key_of_seed,
    new_key,
    share_deviation,
    sum_deviation,
)
from disdel.protocol import client_messages
from disdel.secure_aggregation.keys import cryptography
from disdel.selection import Selection, find_selection
from disdel.strategies.base import Strategy
from disdel.types import FederateJob, PrivacyReport, RoundReport
from disdel.types.federation import POISSON
from disdel.types.privacy import Privacy


def why_not_sums(strategy: Strategy) -> str | None:
    """What a strategy needs of a round beside the sum of its updates; None for nothing."""
    if strategy.sees_each:
        return "looks at each update"
    if strategy.own:
        return "has its clients keep something of their own between rounds"
    if not strategy.awaits_all:
        return "takes updates as they arrive, whenever their clients began"
    if type(strategy).sums is not Strategy.sums:
        return "needs further sums of the updates"
    if type(strategy).numbers is not Strategy.numbers:
        return "is told numbers of what its clients did"
    return None


def check_strategy(strategy: Strategy, privacy: Privacy) -> None:
    """Refuse a strategy that needs more of a round than is protected.

    Raises:
        UsageError: it does.
    """
    why = why_not_sums(strategy)
    if why is None:
        return
    if privacy.is_differential:
        raise UsageError(
            f"--strategy {strategy.name} {why}, and differential privacy is accounted for sums of "
            "clipped updates alone: choose fedavg or another one that works on their mean"
        )
    if privacy.secure_aggregation:
        raise UsageError(
            f"--strategy {strategy.name} {why}, and secure aggregation shows the sum of updates "
            "alone: choose fedavg or another one that works on their mean"
        )


def _check_selection(selection: Selection) -> None:
    """Refuse a selection that looks at what a secure sum hides.

    Raises:
        UsageError: it does.
    """
    if selection.by_loss:
        raise UsageError(
            f"--select {selection.text} chooses by the loss of each client, and secure aggregation "
            "shows the sum of all losses alone: choose --select uniform, size or round-robin"
        )


def check_privacy(job: FederateJob, strategy: Strategy, able: Callable[[int], int]) -> None:
    """Refuse, before anything runs, a federation that cannot be as private as it is asked to be.

    Args:
        job: the federation.
        strategy: its.
        able: as for `DifferentialPrivacy`.

    Raises:
        UsageError: it cannot, or a package is missing.
    """
    check_strategy(strategy, job.privacy)
    if job.privacy.secure_aggregation:
        _check_selection(find_selection(job.select))
        cryptography()
    if job.privacy.is_differential:
        # Noise that is worked out here is remembered.
        DifferentialPrivacy(job, able, ()).check_accounting()


class DifferentialPrivacy(RoundObserver):
    """Bounds and noise of the rounds of a federation, and what they have cost so far.

    Args:
        job: the federation; it asks for differential privacy.
        able: of how many clients those of a round are chosen; of round 0, how many have samples.
        reports: of the rounds that earlier controllers have done.

    Attributes:
        noise: the multiplier.

    Raises:
        UsageError: the budget cannot be kept, the strategy's weights or the way in which clients
            are chosen have no analysis, or fixed point cannot carry the noise.
    """

    def __init__(
        self, job: FederateJob, able: Callable[[int], int], reports: Sequence[RoundReport]
    ) -> None:
        self._job = job
        self._asked = job.privacy
        self._able = able
        self._sampling = _sampling(job, able(0))
        self._any = self._round(0, noise=0.0)
        before = [report.privacy for report in reports if report.privacy is not None]
        # More rounds than were asked at first go on with the noise that was chosen for those.
        self.noise = before[-1].noise if before else self._noise()
        assert self._asked.clip is not None
        self._bound = self._asked.clip
        self._adaptive: AdaptiveClip | None = None
        self._update_noise = self.noise
        if self._asked.adaptive:
            self._adaptive = replace(
                AdaptiveClip.for_cohort(job.wanted), quantile=self._asked.quantile
            )
            self._update_noise = self._adaptive.update_noise(self.noise)
        self._spent: list[NoisyRound] = []
        for report in before:
            self._count(report)
        self._ends = self._reason()

    def _round(self, number: int, *, noise: float) -> NoisyRound:
        """A round, by those that its cohort is drawn from."""
        by_chance = self._sampling == "poisson"
        # Whoever is away, a client's chance to be asked is the same.
        able = max(1, self._able(0 if by_chance else number))
        return NoisyRound(
            noise=noise,
            sampling=self._sampling,
            available=able,
            cohort=min(self._job.asked, able),
        )

    @property
    def _relation(self) -> str:
        """The neighbouring relation, for people."""
        if self._sampling == "all" and self._asked.side == "clients":
            # How much noise there is shows how many have added theirs.
            return "leaving out one client's update, but not its noise"
        return self._any.relation

    @property
    def bound(self) -> float:
        """The present bound of an update's norm."""
        return self._bound

    @property
    def clipping(self) -> client_messages.Clipping:
        """What clients do to their updates."""
        share = 0.0
        if self._asked.side == "clients":
            share = share_deviation(self._update_noise, self._bound, max(1, self._job.least))
        return client_messages.Clipping(bound=self._bound, share=share, seed=self._asked.noise_seed)

    def check_accounting(self) -> None:
        """Whether what rounds cost can be told.

        Raises:
            UsageError: a package is missing, or the accountant does not know such cohorts.
        """
        one = self._round(0, noise=self.noise)
        epsilon_of([one], self._asked.told_delta, self._asked.accountant)

    def check_units(self, exponent: int, elements: int) -> None:
        """Whether fixed point carries the noise, and updates as short as the bound.

        Args:
            exponent: of its unit.
            elements: that an update has at least.

        Raises:
            UsageError: it does not.
        """
        clipping = self.clipping
        step = 2.0**-exponent
        check_bound(self._bound, rounding_norm(elements, step))
        check_deviation(clipping.share or self._deviation, step, shared=bool(clipping.share))

    @property
    def _deviation(self) -> float:
        return sum_deviation(self._update_noise, self._bound)

    @property
    def mean_deviation(self) -> float:
        """The standard deviation of the noise in an element of a round's mean."""
        return self._deviation / self._job.wanted

    def added(self, number: int) -> client_messages.AddedNoise | None:
        """The noise of a round's sum, where the server adds it: for this sum alone."""
        if self._asked.side == "clients":
            return None
        return client_messages.AddedNoise(
            key=self._key().hex(), label=f"round {number}", deviation=self._deviation
        )

    def report(self, number: int, halves: float) -> PrivacyReport:
        """What a round has cost, and the bound of the next one.

        Args:
            number: of the round.
            halves: half of those within the bound, less half of those beyond it.
        """
        following = self._bound
        if self._adaptive is not None:
            noise = Noise(self._key(), f"count {number}")
            share = self._adaptive.share_within(halves, self._job.wanted, noise)
            following = self._adaptive.next_bound(self._bound, share)
        this = self._round(number, noise=self.noise)
        spent = [*self._spent, this]
        return PrivacyReport(
            epsilon=epsilon_of(spent, self._asked.told_delta, self._asked.accountant),
            delta=self._asked.told_delta,
            noise=self.noise,
            clip=self._bound,
            next_clip=following,
            sampling=this.sampling,
            relation=self._relation,
            clients=this.available,
            cohort=this.cohort,
            seeded=self._asked.noise_seed is not None,
        )

    def reason_to_stop(self) -> str | None:
        return self._ends

    async def round_done(self, done: DoneRound) -> None:
        if done.report.privacy is not None:
            self._count(done.report.privacy)
            self._ends = await asyncio.to_thread(self._reason)

    def _count(self, report: PrivacyReport) -> None:
        self._spent.append(
            NoisyRound(
                noise=report.noise,
                sampling=report.sampling,
                available=report.clients,
                cohort=report.cohort,
            )
        )
        self._bound = report.next_clip

    def _reason(self) -> str | None:
        """Why there can be no further round."""
        budget = self._asked.epsilon
        if budget is None:
            return None
        following = [*self._spent, self._round(len(self._spent) + 1, noise=self.noise)]
        after = epsilon_of(following, self._asked.told_delta, self._asked.accountant)
        if after <= budget:
            return None
        if not self._spent:
            raise UsageError(
                f"the first round alone would cost ε = {after:.4g} of --dp-epsilon {budget:g} with "
                f"noise multiplier {self.noise:g}: raise --dp-noise, or leave it out to have it "
                "chosen"
            )
        return f"another round would cost ε = {after:.4g} in all, and --dp-epsilon is {budget:g}"

    def _noise(self) -> float:
        asked = self._asked
        if asked.noise is not None:
            return asked.noise
        assert asked.epsilon is not None
        return noise_for(
            self._any, self._job.rounds, asked.epsilon, asked.told_delta, asked.accountant
        )

    def _key(self) -> bytes:
        seed = self._asked.noise_seed
        return new_key() if seed is None else key_of_seed(seed)

    def told(self) -> str:
        """What is promised, for the plan."""
        one, asked = self._any, self._asked
        count = "" if self._adaptive is None else f", count noise {self._adaptive.count_noise:g}"
        chosen = {
            "poisson": f"each of {one.available} clients with chance {one.cohort}/{one.available}",
            "fixed": f"{one.cohort} of {one.available} clients",
            "all": f"all {one.available} clients",
        }[one.sampling]
        by = "by the server" if asked.side == "server" else "by the clients"
        return (
            f"(ε, δ = {asked.told_delta:g}) for {self._relation}; {chosen} a round; clip "
            f"{self._bound:g}, noise multiplier {self.noise:.4g} {by}{count}; accountant "
            f"{asked.accountant}"
        )


def _sampling(job: FederateJob, clients: int) -> Sampling:
    """How a round's cohort is drawn.

    Raises:
        UsageError: the analysis knows no such way.
    """
    if job.select == POISSON:
        if job.privacy.side == "clients":
            raise UsageError(
                "with --dp-side clients the size of the noise shows how many have trained, which "
                "the ε of --select poisson takes for a secret: choose --select uniform, or leave "
                "out --dp-side, so that the server adds the noise"
            )
        return "poisson"
    if job.asked == clients:
        return "all"
    if job.select == "uniform":
        return "fixed"
    raise UsageError(
        f"--select {job.select} does not choose every client with the same chance, so that it has "
        "no ε: choose --select poisson or uniform"
    )


def check_weights(strategy: Strategy, weights: Sequence[float]) -> None:
    """Refuse weights with which a client may move the sum by more than the bound.

    Raises:
        StrategyFailed: there is one.
    """
    if odd := [weight for weight in weights if weight > 1]:
        raise StrategyFailed(
            f"strategy {strategy.name} gives an update the weight {odd[0]:g}, and under "
            "differential privacy none may be above 1"
        )
