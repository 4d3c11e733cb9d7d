"""What a run needs to go on after its controller has died: the last average, and what led to it.

`progress.jsonl` in the run's folder has the job, and then a line for each complete round; a line
that a crash has cut off does not count. Tensors lie beside it in `checkpoint/`, each file whole or
absent and named by its round, and are written before the line that speaks of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite

from disdel.controller.lease import Lease
from disdel.controller.run_folder import RunFolder
from disdel.errors import UsageError
from disdel.store.base import Buffer
from disdel.types import Activation, LedgerEntry, RoundReport, TrainJob

PROGRESS_NAME = "progress.jsonl"
PROGRESS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRound:
    """A round that ended, and everything that the report says of it."""

    report: RoundReport
    ledger: tuple[LedgerEntry, ...]
    activations: tuple[Activation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        job: with the workers, runtime and fan-in that the planner chose.
        dataset: the data set's version and the samples of its splits.
        planned_rounds: the rounds of the whole job.
        rounds: those that are complete.
    """

    job: TrainJob
    dataset: tuple[str, int, int]
    planned_rounds: int
    rounds: tuple[CompleteRound, ...] = ()

    @property
    def done(self) -> int:
        return len(self.rounds)

    @property
    def spent_s(self) -> float:
        """When the last complete round ended, in seconds since the run began."""
        activations = (a for entry in self.rounds for a in entry.activations)
        return max((a.times.received_ms / 1000 for a in activations if a.times), default=0.0)


class ProgressFiles:
    """The files of one run's progress.

    Args:
        folder: the run's.
        lease: who writes them holds it.
    """

    def __init__(self, folder: RunFolder, lease: Lease | None = None) -> None:
        self._lease = lease
        self._file = folder.path / PROGRESS_NAME
        self._tensors = folder.path / "checkpoint"

    def begin(self, progress: Progress) -> None:
        """Write everything anew, whole or not at all; raises `LeaseLost`."""
        self._confirm()
        self._tensors.mkdir(exist_ok=True)
        head = asdict(progress)
        rounds = head.pop("rounds")
        lines = [{"version": PROGRESS_VERSION, **head}, *rounds]
        scratch = self._file.with_suffix(".tmp")
        scratch.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        scratch.replace(self._file)
        for path in self._tensors.iterdir():
            # Of a round that was not complete when its controller died.
            if int(path.name.split(".")[0].split("-")[1]) > progress.done:
                path.unlink()

    def add(self, complete: CompleteRound, blobs: Mapping[str, Callable[[], Buffer]]) -> None:
        """Save a complete round with the tensors that the next one starts from.

        Args:
            complete: what is told of it.
            blobs: what gives the safetensors of a file, by its name; other files are removed, and
                those that are there stay as they are.

        Raises:
            LeaseLost: another controller goes on with the run.
            OSError: it cannot be written.
        """
        self._confirm()
        for name, data in blobs.items():
            if not self._path(name).is_file():
                scratch = self._path(f"{name}.tmp")
                scratch.write_bytes(data())
                scratch.replace(self._path(name))
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(complete)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for path in self._tensors.iterdir():
            if path.name not in blobs:
                path.unlink()

    def _confirm(self) -> None:
        assert self._lease is not None, "only who drives a run writes its progress"
        self._lease.confirm()

    def read_tensors(self, name: str) -> bytes:
        """The safetensors of this name.

        Raises:
            UsageError: they cannot be read.
        """
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise UsageError(f"run {self._file.parent.name} cannot be resumed: {error}") from error

    def _path(self, name: str) -> Path:
        return self._tensors / name

    def read(self) -> Progress:
        """How far the run has come.

        Raises:
            UsageError: it has left nothing to go on from, or another release has written it.
        """
        run = self._file.parent.name
        try:
            head, *lines = self._file.read_bytes().split(b"\n")
            fields = json.loads(head)
            if fields.pop("version") != PROGRESS_VERSION:
                raise UsageError(f"run {run} was begun by another release of disdel")
            rounds = tuple(_parsed(CompleteRound, json.loads(line)) for line in _whole(lines))
            progress: Progress = _parsed(Progress, {**fields, "rounds": rounds})
        except (OSError, ValueError, KeyError, dacite.DaciteError) as error:
            raise UsageError(
                f"run {run} cannot be resumed: its {PROGRESS_NAME} cannot be read ({error}); only "
                "trainings can"
            ) from error
        return progress


def state_name(number: int) -> str:
    """The file of the average of a round."""
    return f"state-{number}.safetensors"


def slots_name(number: int, worker: int) -> str:
    """The file of the optimizer that a worker keeps for itself."""
    return f"slots-{number}-{worker}.safetensors"


def _whole(lines: list[bytes]) -> list[bytes]:
    """The lines that end in a newline: what follows the last one was cut off."""
    return lines[:-1]


def _parsed(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    return dacite.from_dict(kind, fields, dacite.Config(cast=[tuple]))
