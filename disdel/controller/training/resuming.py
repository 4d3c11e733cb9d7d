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
from disdel.types import Plan, TrainJob


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

    def job(self, epochs: int | None = None) -> TrainJob:
        """The job of the run, with more epochs if asked.

        Raises:
            UsageError: fewer epochs, or nothing is left to do.
        """
        job, run = self.progress.job, self.folder.run
        if epochs is not None and epochs < job.epochs:
            raise UsageError(f"run {run} has {job.epochs} epochs; --epochs {epochs} would be fewer")
        if epochs in (None, job.epochs) and self.folder.is_complete:
            raise UsageError(f"run {run} is complete; more --epochs than {job.epochs} would go on")
        return replace(job, epochs=epochs or job.epochs)


def read_resumed(folder: RunFolder) -> Resumed:
    """The run in `folder`, to be taken up.

    Raises:
        UsageError: it still runs, is no training, or has left nothing whole to go on from.
    """
    if folder.is_running:
        raise UsageError(f"run {folder.run} is still running; disdel stop {folder.run} ends it")
    _check_is_training(folder)
    files = ProgressFiles(folder)
    progress = files.read()
    # Before servers are started for it.
    files.check(progress)
    return Resumed(folder, progress)


def _check_is_training(folder: RunFolder) -> None:
    try:
        job = folder.read_report().job
    except UsageError:
        return  # What is to go on is in other files.
    if job != "train":
        raise UsageError(
            f"run {folder.run} is an inference, and only trainings can be resumed: say it again "
            "with disdel infer"
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
    if before.done and _steps_done(before, plan) != _steps_done(
        replace(planned, rounds=before.rounds), plan
    ):
        raise UsageError(
            f"with --sync {planned.job.sync}, the epochs of run {resumed.folder.run} cannot be "
            "raised any more: its last round was the end of its training"
        )
    return replace(planned, rounds=before.rounds)


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
