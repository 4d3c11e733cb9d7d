"""What a training has come to, as its report tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from disdel.controller.invoking.invoker import Invoker
from disdel.controller.invoking.journal import endpoint_reports
from disdel.controller.planning.plan_report import plan_report
from disdel.controller.training.observers import RoundHistory
from disdel.controller.training.splits import split_reports
from disdel.controller.training.stopping import model_round, rounds_to
from disdel.settings import Settings, entries
from disdel.types import (
    DatasetSpec,
    FederateJob,
    ModelSpec,
    Plan,
    Precision,
    RoundReport,
    RunReport,
    Score,
    TrainJob,
)
from disdel.types.client_scores import ClientScores
from disdel.types.dealt import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that a report tells of a training, beside its activations.

    Attributes:
        job: what the user asked for, or the training that a federation is planned as.
        federation: what the user asked for, of one.
        plan: how it was begun.
        model: the network.
        settings: what the user allows.
        dataset: with as many samples as each split has in this training.
        history: of the rounds.
        tested: the score of the finished model, where that is no round's.
        client_scores: its scores on clients' own samples, where these were asked for.
        label_map: what its clients were dealt, of a federation.
        model_path: where the model is, once it is there.
        resumed_after: the last round of earlier controllers; None where there was none.
        precision: what steps computed in; None where none has chosen it.
    """

    job: TrainJob
    federation: FederateJob | None
    plan: Plan
    model: ModelSpec
    settings: Settings
    dataset: DatasetSpec
    history: RoundHistory
    tested: Score | None
    client_scores: ClientScores | None
    label_map: LabelMap | None
    model_path: Path
    resumed_after: int | None
    precision: Precision | None

    def report(self, invoker: Invoker, wall_s: float) -> RunReport:
        """The report of the run whose activations `invoker` has the records of."""
        decides = self.job.validation.decides
        reports = self.history.reports
        number = model_round(self.job.validation, reports)
        tested: Score | RoundReport | None = self.tested
        if number is not None and not decides:
            tested = reports[number - 1]
        journal = invoker.journal
        return RunReport(
            run=invoker.folder.run,
            job="train" if self.federation is None else "federate",
            dataset=self.job.dataset,
            platform=invoker.session.platform_name,
            status="ok",
            wall_s=round(wall_s, 3),
            settings=self._settings_as_used(),
            accuracy=None if tested is None else tested.accuracy,
            loss=None if tested is None else tested.loss,
            metrics={} if tested is None else tested.metrics,
            model=str(self.model_path) if self.model_path.is_file() else None,
            splits=split_reports(
                self.dataset,
                decides=decides,
                trains=self.federation is None or self.federation.data is None,
            ),
            scored_on=self.plan.scored_on,
            plan=plan_report(self.plan),
            rounds=tuple(reports),
            activations=tuple(journal.activations),
            ledger=tuple(self.history.ledger),
            totals=journal.totals(),
            model_round=number,
            stopped=self.history.stopped,
            resumed_after=self.resumed_after,
            client_scores=self.client_scores,
            label_map=self.label_map,
            rounds_to_target=rounds_to(self.job.validation.target_accuracy, reports),
            endpoints=endpoint_reports(self.plan.endpoints, journal.activations),
        )

    def _settings_as_used(self) -> dict[str, object]:
        """The settings with what was chosen for those that were left open."""
        chosen: dict[str, object] = {
            "runtime": self.plan.runtime,
            "model": self.model.name,
            "optimizer": self.model.optimizer(self.job.optimizer).name,
            "validate_every": self.plan.score_every,
            "precision": self.precision,
        }
        if self.federation is not None:
            chosen["containers"] = self.plan.workers
            return {**entries(self.federation), **entries(self.settings), **chosen}
        chosen |= {"workers": self.plan.workers, "fan_in": self.plan.fan_in}
        return {**entries(self.job), **entries(self.settings), **chosen}
