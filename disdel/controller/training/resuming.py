"""Taking up a run where its last complete round has left it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from disdel.controller.runs.lease import Lease, claimed
from disdel.controller.runs.progress import Progress, ProgressFiles
from disdel.controller.runs.run_folder import RunFolder
from disdel.errors import UsageError
from disdel.runtimes.schedule import Schedule, round_steps
from disdel.types import FederateJob, Plan, TrainJob
from disdel.user_code.collecting import UserCode, read_code


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that goes on: its folder, and how far it has come."""

    folder: RunFolder
    progress: Progress

    @contextmanager
    def claimed(self) -> Iterator[Lease]:
        """The right to drive the run; nobody else does so inside.

        Raises:
            RunTaken: somebody else does.
            UsageError: it has gone on since it was read.
        """
        with claimed(self.folder.path) as lease:
            if ProgressFiles(self.folder).read() != self.progress:
                raise UsageError(
                    f"run {self.folder.run} has gone on in the meantime: look at it with disdel "
                    f"runs show {self.folder.run}, and say it again"
                )
            yield lease

    @property
    def began_as(self) -> TrainJob:
        """The job of a training as it was begun.

        Raises:
            UsageError: it is a federation.
        """
        if self.progress.federation is not None:
            raise UsageError(
                f"run {self.folder.run} is a federation: disdel federate --resume "
                f"{self.folder.run} continues it"
            )
        return replace(self.progress.job, precision=self.progress.precision)

    @property
    def federated_as(self) -> FederateJob:
        """The job of a federation as it was begun.

        Raises:
            UsageError: it is a training.
        """
        if self.progress.federation is None:
            raise UsageError(
                f"run {self.folder.run} is a training: disdel train --resume {self.folder.run} "
                "continues it"
            )
        # Of the same runtime, where the planner had the choice: no other reads the state.
        job = self.progress.job
        return replace(
            self.progress.federation, runtime=job.runtime, precision=self.progress.precision
        )

    def job(self, epochs: int | None = None) -> TrainJob:
        """The job of a training, with more epochs if asked.

        Raises:
            UsageError: it is none, fewer epochs are asked, or nothing is left to do.
        """
        job = self.began_as
        return replace(job, epochs=self._more("epochs", job.epochs, epochs))

    def federation(self, rounds: int | None = None) -> FederateJob:
        """The job of a federation, with more rounds if asked.

        Raises:
            UsageError: it is none, fewer rounds are asked, or nothing is left to do; or the rates
                of the rounds before depend on their number.
        """
        job = self.federated_as
        more = self._more("rounds", job.rounds, rounds)
        schedule = job.rate_schedule
        if more != job.rounds and (schedule.shape != "constant" or 0 < schedule.warmup < 1):
            raise UsageError(
                f"the learning rates of run {self.folder.run} go by its {job.rounds} rounds "
                f"(--schedule {schedule.shape}): their number cannot be raised any more"
            )
        return replace(job, rounds=more)

    def check_lacks_model(self, ends: str) -> None:
        """Refuse to go on with a run that can have no further round, unless it lacks its model.

        Args:
            ends: why it can have none.

        Raises:
            UsageError: it is complete.
        """
        if self.folder.is_complete:
            raise UsageError(
                f"run {self.folder.run} is complete, and would end again at once: {ends}. What "
                "ends a run cannot be changed any more: begin a new one"
            )

    def _more(self, name: str, before: int, asked: int | None) -> int:
        """How many there are to be, of which there were so many."""
        run = self.folder.run
        if asked is not None and asked < before:
            raise UsageError(f"run {run} has {before} {name}; --{name} {asked} would be fewer")
        if asked in (None, before) and self.folder.is_complete:
            raise UsageError(f"run {run} is complete; more --{name} than {before} would go on")
        return asked or before


def read_resumed(folder: RunFolder) -> Resumed:
    """The run in `folder`, to be taken up.

    Raises:
        UsageError: it still runs, is no training, or has left nothing whole to go on from.
    """
    if folder.is_running:
        raise UsageError(f"run {folder.run} is still running; disdel stop {folder.run} ends it")
    _check_is_no_inference(folder)
    files = ProgressFiles(folder)
    progress = files.read()
    # Before servers are started for it.
    files.check(progress)
    return Resumed(folder, progress)


def _check_is_no_inference(folder: RunFolder) -> None:
    try:
        job = folder.read_report().job
    except UsageError:
        return  # What is to go on is in other files.
    if job == "infer":
        raise UsageError(
            f"run {folder.run} is an inference, and only trainings can be resumed: say it again "
            "with disdel infer"
        )


def keep_strategy(folder: RunFolder, code: UserCode) -> None:
    """Keep the code of a strategy with a run, and refuse to go on by another one.

    Raises:
        UsageError: the run has been begun by other code.
    """
    begun = read_code(folder.strategy)
    if begun is None:
        code.write(folder.strategy)
    elif begun.ref.digest != code.ref.digest:
        raise UsageError(
            f"{code.ref.entry} has changed since run {folder.run} began, and its rounds would not "
            f"be alike: put back what lies in {folder.strategy}, or train anew"
        )


def take_up(resumed: Resumed, planned: Progress, plan: Plan) -> Progress:
    """`planned` with the rounds that the run has behind it.

    Raises:
        UsageError: they would not have been the same, had it been planned so from the start.
    """
    before = resumed.progress
    if before.dataset != planned.dataset:
        raise UsageError(
            f"run {resumed.folder.run} was begun on another version of {planned.job.dataset}: "
            f"{before.dataset[1]} samples, and now {planned.dataset[1]}"
        )
    if before.dataset_digest != planned.dataset_digest:
        raise UsageError(
            f"run {resumed.folder.run} was begun on other samples of {planned.job.dataset} than it "
            f"has now (checksum {before.dataset_digest[:8]}, now {planned.dataset_digest[:8]}): "
            "import those again that it was begun on, or train anew"
        )
    if before.dealt_digest and before.dealt_digest != planned.dealt_digest:
        raise UsageError(
            f"run {resumed.folder.run} was begun with samples dealt to its clients in another way "
            f"than {_dealer(planned)} deals them now: put back what it was begun with, or train "
            "anew"
        )
    if (
        before.federation is None
        and before.done
        and _steps_done(before, plan) != _steps_done(replace(planned, rounds=before.rounds), plan)
    ):
        raise UsageError(
            f"with --sync {planned.job.sync}, the epochs of run {resumed.folder.run} cannot be "
            "raised any more: its last round was the end of its training"
        )
    return replace(planned, rounds=before.rounds)


def _dealer(planned: Progress) -> str:
    federation = planned.federation
    if federation is not None and federation.data is not None:
        return f"counts() of --data {federation.data}"
    return f"--partition {(federation or planned.job).partition}"


def changed_files(resumed: Resumed, planned: Progress) -> list[str]:
    """Sentences on files that a run's further rounds go by, and its rounds before did not."""
    before = resumed.progress.file_digests
    return [
        f"{name} has changed since run {resumed.folder.run} began: its rounds from here on go by "
        "what it is now"
        for name, digest in planned.file_digests.items()
        if before.get(name, digest) != digest
    ]


def _steps_done(progress: Progress, plan: Plan) -> list[tuple[int, int]]:
    """The steps of each client in the last complete round."""
    job = progress.job
    return [
        round_steps(
            Schedule(samples, job.batch_size, job.seed, client),
            epochs=job.epochs,
            rounds=progress.planned_rounds,
            sync=job.sync,
            round_number=progress.done,
        )
        for client, samples in enumerate(plan.client_samples)
    ]
