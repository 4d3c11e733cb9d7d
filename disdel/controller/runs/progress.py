"""What a run needs to go on after its controller has died: the last average, and what led to it.

`progress.jsonl` in the run's folder has the job, and then a line for each complete round (a second
one where a round was scored after it was saved); a line that a crash has cut off does not count.
Tensors lie beside it in `checkpoint/`, each file whole or absent and named by its round, and are
written before the line that speaks of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dacite

from disdel.controller.runs.lease import Lease
from disdel.controller.runs.run_folder import RunFolder
from disdel.errors import UsageError
from disdel.store.base import Buffer
from disdel.types import Activation, FederateJob, LedgerEntry, Precision, RoundReport, TrainJob

PROGRESS_NAME = "progress.jsonl"
PROGRESS_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRound:
    """A round that ended, and everything that the report says of it.

    Attributes:
        checksums: of the files that were saved with it, by name.
    """

    report: RoundReport
    ledger: tuple[LedgerEntry, ...]
    activations: tuple[Activation, ...]
    checksums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        job: with the workers, runtime and fan-in that the planner chose.
        dataset: the data set's version and the samples of its splits: train, validation, test.
        dataset_digest: of the samples themselves.
        dealt_digest: of which client owns which of them; empty where nobody has kept it.
        file_digests: of other files that rounds go by, by their names.
        planned_rounds: the rounds of the whole job.
        rounds: those that are complete.
        federation: what was asked for, where the job stands for a federation.
    """

    job: TrainJob
    dataset: tuple[str, int, int, int]
    dataset_digest: str
    planned_rounds: int
    dealt_digest: str = ""
    file_digests: dict[str, str] = field(default_factory=dict)
    rounds: tuple[CompleteRound, ...] = ()
    federation: FederateJob | None = None

    @property
    def done(self) -> int:
        return len(self.rounds)

    @property
    def precision(self) -> Precision | None:
        """What steps compute in; None where no round has come to choose it."""
        told = (a.precision for entry in self.rounds for a in entry.activations)
        return self.job.precision or next((one for one in told if one is not None), None)

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
        self._checksums: dict[str, int] = {}
        # Rounds that could not be saved when they ended; without their lines, the next one's is
        # that of another round.
        self._late: list[CompleteRound] = []

    def begin(self, progress: Progress) -> None:
        """Write everything anew, whole or not at all; raises `LeaseLost`."""
        self._confirm()
        for complete in progress.rounds:
            self._checksums |= complete.checksums
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
        self._late.append(complete)
        for name, data in blobs.items():
            if not self._path(name).is_file():
                self._write_tensors(name, data())
        known = {name: self._checksums[name] for name in blobs if name in self._checksums}
        self._late[-1] = replace(complete, checksums=known)
        self._append("".join(json.dumps(asdict(late)) + "\n" for late in self._late))
        self._late.clear()
        for path in self._tensors.iterdir():
            if path.name not in blobs:
                path.unlink()

    def _write_tensors(self, name: str, data: Buffer) -> None:
        scratch = self._path(f"{name}.tmp")
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path(name))
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
        self._checksums[name] = zlib.crc32(data)

    def _append(self, lines: str) -> None:
        """Add lines, all of them or none."""
        size_bytes = self._file.stat().st_size
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._file, size_bytes)
            raise

    def _confirm(self) -> None:
        assert self._lease is not None, "only who drives a run writes its progress"
        self._lease.confirm()

    def read_tensors(self, name: str) -> bytes:
        """The safetensors of this name.

        Raises:
            UsageError: they cannot be read, or are not those that were saved.
        """
        path = self._path(name)
        refused = f"run {self._file.parent.name} cannot be resumed: "
        try:
            if path.exists() and not path.is_file():
                raise UsageError(f"{refused}{path} is no file")
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{refused}{error}") from error
        if zlib.crc32(data) != self._checksums.get(name, zlib.crc32(data)):
            raise UsageError(
                f"{refused}{path} is not what was saved there (its checksum differs): put it back "
                "from a copy, or train anew"
            )
        return data

    def check(self, progress: Progress) -> None:
        """Make sure that what the next round starts from is as it was saved.

        Raises:
            UsageError: it is not.
        """
        if progress.rounds:
            self._checksums |= progress.rounds[-1].checksums
            for name in {state_name(progress.done), *progress.rounds[-1].checksums}:
                self.read_tensors(name)

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
            if (version := fields.pop("version")) != PROGRESS_VERSION:
                raise UsageError(
                    f"run {run} cannot be resumed: its {PROGRESS_NAME} is of version {version!r}, "
                    f"and this disdel goes on from version {PROGRESS_VERSION}: take the release "
                    "that began it, or train anew"
                )
            saved = [_parsed(CompleteRound, json.loads(line)) for line in _whole(lines)]
            # One that was saved before it was scored, and again then, counts as it was last.
            rounds = {complete.report.round: complete for complete in saved}
            progress: Progress = _parsed(Progress, {**fields, "rounds": tuple(rounds.values())})
        except FileNotFoundError as error:
            raise UsageError(
                f"run {run} cannot be resumed: it has no {PROGRESS_NAME}, which every training "
                "has: train anew"
            ) from error
        except (OSError, ValueError, KeyError, dacite.DaciteError) as error:
            raise UsageError(
                f"run {run} cannot be resumed: its {PROGRESS_NAME} cannot be read ({error}): train "
                "anew"
            ) from error
        return progress


def state_name(number: int) -> str:
    """The file of the average of a round."""
    return f"state-{number}.safetensors"


def kept_name(number: int) -> str:
    """The file of what a strategy keeps after a round."""
    return f"kept-{number}.safetensors"


def optimizer_name(number: int, client: int) -> str:
    """The file of the optimizer that a client keeps for itself."""
    return f"optimizer-{number}-{client}.safetensors"


def own_name(number: int, client: int) -> str:
    """The file of what a client keeps by its strategy since a round."""
    return f"own-{number}-{client}.safetensors"


def own_place(name: str) -> tuple[int, int] | None:
    """The round and the client of such a file; None of others."""
    match = re.fullmatch(r"own-(\d+)-(\d+)\.safetensors", name)
    return None if match is None else (int(match[1]), int(match[2]))


def _whole(lines: list[bytes]) -> list[bytes]:
    """The lines that end in a newline: what follows the last one was cut off."""
    return lines[:-1]


def _parsed(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    return dacite.from_dict(kind, fields, dacite.Config(cast=[tuple]))
