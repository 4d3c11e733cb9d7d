"""The rounds of a federation: ask a cohort, let it train, join what has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from disdel.controller.federating.client_data import ClientData, OwnSamples, StagedSamples
from disdel.controller.federating.client_scoring import ClientScoring, means
from disdel.controller.federating.clients_file import ClientsFile
from disdel.controller.federating.cohort import Answered, Cohort
from disdel.controller.federating.cohorts import CohortContainers
from disdel.controller.federating.counting import note_on
from disdel.controller.federating.dropped import DropNotes, causes_told, dropped_clients
from disdel.controller.federating.personal_models import PersonalModels
from disdel.controller.federating.privacy import DifferentialPrivacy
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.secure import new_client_secret
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.training.observers import JoinedRound, RoundObserver
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.splits import train_labels
from disdel.controller.training.staging import stage_scored
from disdel.controller.training.terms import advance_of
from disdel.data.partitioners.looking import map_labels
from disdel.errors import RoundFailed
from disdel.protocol import client_messages, messages
from disdel.protocol.protection import COUNTS, LOSS_UNITS, SECRET_PARAMETER
from disdel.runtimes.registry import runtime_named
from disdel.strategies.base import Contribution, Strategy
from disdel.types import (
    Activation,
    ClientsReport,
    FederateJob,
    LedgerEntry,
    PrivacyReport,
)
from disdel.types.client_scores import ClientScores, spread
from disdel.types.dealt import LabelMap
from disdel.types.events import Noted

# Of the map of clients and labels: beyond these, neighbours stand together.
_MAP_ROWS, _MAP_COLUMNS = 100, 50
_STAGED = (
    "updates are masked, but the samples that disdel deals to clients lie in Redis as they are: "
    "who reads it needs no updates (with --data they load their own)"
)


_SEEDED = (
    "--dp-seed makes noise and cohorts that whoever knows the seed can make again: this run "
    "protects nobody, and its ε is what one without the seed would have"
)
_NOISY = (
    "the noise, whose standard deviation in each element of a mean is {deviation:.3g} at first "
    "(less with a lower --dp-clip or more --clients-per-round), and at the model: noise may make "
    "variances negative that batch normalisation keeps, and layer or group normalisation keeps none"
)
_OUTSIDE_EPSILON = (
    "scores by client are in the report as they are, and the epsilon says nothing of them: show "
    "them only to those who may see the clients' data"
)


class FederatedRun(RoundLoop):
    """A federation.

    Args:
        federation: what the user asked for.
        roster: the clients.
        parts: what `RoundLoop` takes.
    """

    command = "federate"
    containers_class: ClassVar[type[CohortContainers]] = CohortContainers

    def __init__(self, federation: FederateJob, roster: Roster, *parts: Any) -> None:
        self._federation = federation
        self._roster = roster
        self._scored: set[str] = set()
        # Of this controller's own activations, how many are in a round's report.
        self._told = 0
        self._drop_notes = DropNotes()
        self._last_scores: ClientScores | None = None
        self._differential: DifferentialPrivacy | None = None
        if federation.client_rate is not None:
            self.rate_flag = "--client-rate"
        super().__init__(*parts)

    def new_containers(self, action: SizedAction) -> CohortContainers:
        self._data: ClientData
        self._data = self._staged() if self._federation.data is None else OwnSamples()
        privacy = self._federation.privacy
        if privacy.is_differential:
            reports = [entry.report for entry in self.progress.rounds]
            self._differential = DifferentialPrivacy(self._federation, self._roster.able, reports)
            self.suspects = _NOISY.format(deviation=self._differential.mean_deviation)
            self.emit(Noted(message=self._differential.told()))
            if privacy.noise_seed is not None:
                self.emit(Noted(message=_SEEDED, matters=True))
            if self._federation.evaluating.tells:
                self.emit(Noted(message=_OUTSIDE_EPSILON, matters=True))
        job = self._federation
        if job.asked < job.wanted * job.over_select:
            self.emit(
                Noted(
                    message=f"--over-select {job.over_select:g} would ask more than "
                    f"{job.asked} clients a round: there are no more"
                )
            )
        if privacy.secure_aggregation:
            parameters = {SECRET_PARAMETER: new_client_secret()}
            action.spec = replace(action.spec, parameters=parameters)
            if self._federation.data is None:
                self.emit(Noted(message=_STAGED, matters=True))
        self._cohorts = self.containers_class(
            *(self.job, self.crew, self.model, self.strategy, action, self.invoker, self.emit),
            federation=self._federation,
            roster=self._roster,
            data=self._data,
            differential=self._differential,
        )
        if not self._roster.is_counted:
            self.emit(note_on(self._roster.samples(self._roster.somebody)))
        for complete in self.progress.rounds:
            self._cohorts.turns.follow(complete.ledger)
        self._scoring = ClientScoring(
            self._federation,
            self._roster,
            self._data,
            self._cohorts,
            self.samples.spec,
            self.model.target.elements,
            self.emit,
            self._personal() if self._federation.evaluating.keep_personal else None,
        )
        return self._cohorts

    def _personal(self) -> PersonalModels:
        suffix = runtime_named(self.crew.plan.runtime).model_suffix
        return PersonalModels(self.invoker, self.job.dataset, suffix, self.model, self.compiled)

    def _staged(self) -> StagedSamples:
        session = self.invoker.session
        return StagedSamples(
            session.store,
            self.invoker.keys,
            self._roster,
            self.samples.splits["train"],
            self.samples.spec,
            session.examination.room_mb,
            is_here=session.has_own_store,
        )

    async def scored_by_clients(self, number: int) -> ClientScores | None:
        if not self._federation.evaluating.is_due(number):
            return None
        scores = self._last_scores = await self._scoring.scores(number)
        # Of each client, the finished model's are told.
        return scores and replace(scores, by_client=())

    async def tested_by_clients(self, number: int) -> ClientScores | None:
        if not self._federation.evaluating.is_asked:
            return None
        keeps = self._federation.evaluating.keep_personal
        if not keeps and self._last_scores is not None and self._last_scores.round == number:
            return self._last_scores
        return await self._scoring.final_scores(number)

    def further_observers(self) -> Sequence[RoundObserver]:
        private = () if self._differential is None else (self._differential,)
        file = ClientsFile(self.invoker.folder.path, self.emit)
        return (self._roster, *private, file)

    @property
    def label_map(self) -> LabelMap | None:
        if self._federation.data is None:
            return self._dealt_labels
        return self._cohorts.turns.labels.map(self.samples.spec, _MAP_ROWS, _MAP_COLUMNS)

    @cached_property
    def _dealt_labels(self) -> LabelMap | None:
        job, spec = self._federation, self.samples.spec
        if spec.target.shape:
            return None
        return map_labels(
            self._roster.assignment,
            train_labels(self.samples),
            spec,
            partition=job.partition,
            most_rows=_MAP_ROWS,
            most_columns=_MAP_COLUMNS,
        )

    async def prepare(self, number: int) -> None:
        for sentence in self._roster.rests.begun():
            self.emit(Noted(message=sentence, matters=True))
        await self._cohorts.meet(number)

    def active(self, number: int) -> int:
        return sum(map(bool, self._cohorts.hands(number)))

    async def stage(self, number: int) -> None:
        if number and self._federation.data is None:
            # Here and not in a thread beside the round, so that it is done once.
            self._cohorts.hands(number)
        await self.invoker.write(self._stage, number)

    def _stage(self, number: int) -> None:
        """Those who are needed first, of each container, before the others."""
        if number and self._federation.data is None:
            hands = self._cohorts.hands(number)
            longest = max(map(len, hands), default=0)
            turns = (hand[turn] for turn in range(longest) for hand in hands if turn < len(hand))
            self._data.make_round_ready(list(turns), self._cohorts.still_training())
        store, keys = self.invoker.session.store, self.invoker.keys
        stage_scored(store, keys, self.crew.plan, self.samples, self._scored)

    async def join(self, number: int) -> JoinedRound:
        cohort = await self._cohorts.train_round(number)
        self._check_answers(cohort)
        keys = self.invoker.keys
        await self._cohorts.unmask(cohort)
        contributions = self._cohorts.turns.contributions(cohort)
        advance = advance_of(self.strategy, keys, number, contributions, self._federation.roster)
        checksums = {client: one.result.checksum for client, one in cohort.answered.items()}
        counted: dict[int, float | None] = {}
        counts: tuple[int, ...] = ()
        if cohort.exponent is None:
            entries = await self.collector.collect(
                number, _updates(self.strategy, cohort, contributions), advance
            )
            averaged = {entry.client: entry for entry in entries if entry.client is not None}
            checksums = {client: entry.checksum for client, entry in averaged.items()}
            counted = {client: entry.weight for client, entry in averaged.items()}
            for client in sorted(cohort.answered.keys() - checksums.keys()):
                cohort.drop([client], "its update has what is no number")
                del cohort.answered[client]
        else:
            request = client_messages.CombineRequest(
                round=number,
                sum_keys=tuple(sorted(cohort.sum_keys)),
                updates=len(cohort.answered),
                weight=cohort.weight,
                before_key=keys.state(number - 1),
                state_key=keys.state(number),
                advance=advance,
                exponent=cohort.exponent,
                exponents=cohort.exponents,
                secure=cohort.secure,
            )
            counts = await self.collector.combine(self._protected(request))
        # Who is late is so by what was asked for; a round's row counts those.
        left_out = {c: why for c, why in cohort.dropped.items() if c not in cohort.late}
        for sentence in self._drop_notes.of_round(number, left_out):
            self.emit(Noted(message=sentence, matters=True))
        ledger = _ledger(cohort, checksums, counted, self.model.target.elements)
        return JoinedRound(
            ledger=tuple(ledger),
            spent=tuple(cohort.spent),
            train_loss=_loss(cohort, counts),
            privacy=await asyncio.to_thread(self._privacy, number, counts),
            clients=ClientsReport(
                asked=len(cohort.turns),
                answered=len(cohort.answered),
                dropped=dropped_clients(cohort.dropped.items(), cohort.ended),
                **own_scores(ledger),
                bytes=cohort.moved_bytes,
            ),
        )

    def untold_activations(self) -> tuple[Activation, ...]:
        """All that have ended since this was asked last, of whichever rounds."""
        told, self._told = self._told, len(self.own_activations)
        return tuple(self.own_activations[told:])

    def _protected(self, request: client_messages.CombineRequest) -> client_messages.CombineRequest:
        """The request, with what the clients' protection asks of their sum."""
        if self._differential is not None:
            # Whoever answers, or is not even asked, moves the mean by as much as in any round.
            divisor = float(self._federation.wanted)
            added = self._differential.added(request.round)
            return replace(request, divisor=divisor, noise=added, counts=COUNTS)
        return request if request.secure is None else replace(request, counts=COUNTS)

    def _privacy(self, number: int, counts: Sequence[int]) -> PrivacyReport | None:
        if self._differential is None:
            return None
        return self._differential.report(number, counts[0] / 2)

    def _check_answers(self, cohort: Cohort) -> None:
        """Refuse a round that too few have answered.

        Raises:
            RoundFailed: it is one.
        """
        answered, least = len(cohort.answered), self._federation.least
        if answered >= least:
            return
        if not cohort.turns:
            raise RoundFailed(
                f"round {cohort.number} failed: it asks nobody, and {least} must answer: by "
                "chance, no client was there or drawn. Raise --clients-per-round or --available"
            )
        asked_for = "--min-clients" if self._federation.min_clients else "--clients-per-round"
        without = f" --min-clients {answered} goes on without them" if answered else ""
        if cohort.late and self._federation.deadline_s is not None:
            without += f"{'; or raise' if without else ' Raise'} --deadline, in which the start of "
            without += "containers counts"
        raise RoundFailed(
            f"round {cohort.number} failed: {answered} of {len(cohort.turns)} clients answered, "
            f"and {least} must ({asked_for}). {causes_told(cohort.dropped)}.{without}"
        )


def _loss(cohort: Cohort, counts: Sequence[int]) -> float | None:
    """The mean over the samples of a round; of masked updates, from what was summed with them."""
    if not cohort.answered:
        return None
    return counts[1] / LOSS_UNITS / cohort.samples if cohort.secure else cohort.train_loss


def _updates(
    strategy: Strategy, cohort: Cohort, contributions: Sequence[Contribution]
) -> list[messages.Update]:
    sums = {one.client: dict(strategy.sums(one)) for one in contributions}
    return [
        messages.Update(
            client=client,
            worker=one.worker,
            attempt=one.attempt,
            key=one.update_key or "",
            samples=one.result.samples,
            weight=one.weight,
            sums=sums[client],
        )
        for client, one in sorted(cohort.answered.items())
    ]


def _ledger(
    cohort: Cohort,
    checksums: Mapping[int, str],
    counted: Mapping[int, float | None],
    labels_each: int,
) -> list[LedgerEntry]:
    """Who is in the average, with what each counted there where that is not the weight it had."""
    return [
        replace(
            ledger_entry(cohort.number, client, one, labels_each),
            checksum=checksums[client],
            weight=one.weight if counted.get(client) is None else counted[client],
            loss=None if cohort.secure else one.result.loss_sum / one.result.samples,
        )
        for client, one in sorted(cohort.answered.items())
    ]


def ledger_entry(number: int, client: int, one: Answered, labels_each: int) -> LedgerEntry:
    """What a client's update is in the average of a round."""
    result = one.result
    own = (None, None) if result.score is None else means(result.score, labels_each)
    return LedgerEntry(
        round=number,
        client=client,
        worker=one.worker,
        attempt=one.attempt,
        samples=result.samples,
        checksum=result.checksum,
        weight=one.weight,
        steps=result.steps,
        loss=result.loss_sum / result.samples,
        train_s=result.train_s,
        own_loss=own[0],
        own_accuracy=own[1],
        bytes=one.bytes,
    )


def own_scores(ledger: Sequence[LedgerEntry]) -> dict[str, Any]:
    """How the clients' models do before the average; empty where they were not scored."""
    scored = [entry for entry in ledger if entry.own_loss is not None]
    samples = [entry.samples for entry in scored]
    losses = [entry.own_loss for entry in scored if entry.own_loss is not None]
    found = {"own_loss": spread(losses, samples, worst="most")} if scored else {}
    accuracies = [entry.own_accuracy for entry in scored if entry.own_accuracy is not None]
    if accuracies:
        found["own_accuracy"] = spread(accuracies, samples, worst="least")
    return found
