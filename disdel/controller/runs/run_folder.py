"""The folder of a run: its report, its model and the logs of its activations."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from disdel.controller.runs.lease import RunTaken, claimed, is_driven
from disdel.controller.runs.rescue import write_whole
from disdel.errors import UsageError
from disdel.types import ErrorReport, RunReport
from disdel.types.report_json import read_report, report_text

REPORT_NAME = "report.json"
MODEL_NAME = "model.keras"
PERSONAL_NAME = "personal"
CONFUSION_NAME = "confusion.png"
# Of a data set's name in a run's.
_NAME_LENGTH = 80
# For report, progress and logs of a short run; its model may go elsewhere.
_ROOM_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder; `run` is its id."""

    path: Path

    @property
    def run(self) -> str:
        return self.path.name

    @property
    def model(self) -> Path:
        """The file of the trained model, where there is one."""
        found = sorted(self.path.glob("model.*"))
        return found[0] if found else self.path / MODEL_NAME

    def new_model(self, suffix: str) -> Path:
        """Where the trained model goes, as a file of its framework."""
        return (self.path / MODEL_NAME).with_suffix(suffix)

    def last_good(self, suffix: str) -> Path:
        """Where the model of the last round before training diverged goes."""
        return self.new_model(suffix).with_stem("last_good")

    def personal(self, client: int | str, suffix: str) -> Path:
        """Where the model goes that a client has trained further on its own samples."""
        return self.path / PERSONAL_NAME / f"{client}{suffix}"

    @property
    def code(self) -> Path:
        """The user's own model as files, which loading it may need."""
        return self.path / "code"

    @property
    def strategy(self) -> Path:
        """The user's own strategy as files, by which alone the run goes on."""
        return self.path / "strategy"

    @property
    def report(self) -> Path:
        return self.path / REPORT_NAME

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended well, by its report, if that can be read."""
        try:
            return self.read_report().status == "ok"
        except UsageError:
            return False

    @property
    def confusion(self) -> Path:
        """The picture of an infer run's confusion matrix."""
        return self.path / CONFUSION_NAME

    def log(self, *, worker: int | None, activation_id: str) -> Path:
        """Where the log of an activation stands."""
        owner = "collect" if worker is None else f"worker-{worker}"
        return self.path / "logs" / f"{owner}-{activation_id}.log"

    def write_report(self, report: RunReport) -> None:
        """Save the report, whole or not at all."""
        write_whole(self.report, report_text(report))

    def read_report(self) -> RunReport:
        """The saved report; that of a run whose controller was killed says that it is lost.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        report = self.written_report()
        if report.status == "running" and not self.is_running:
            # Its controller may have ended in order between the two looks.
            report = as_lost(self.written_report())
        return report

    def written_report(self) -> RunReport:
        """The saved report as its controller has left it.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        return read_report(self.report, "name another run; what happened in this one is lost")

    def age_s(self) -> float:
        """How long ago the report was written."""
        return time.time() - self.report.stat().st_mtime

    def remove(self) -> None:
        """Delete the folder with all that is in it.

        Raises:
            RunTaken: somebody drives the run.
            UsageError: it cannot be deleted.
        """
        try:
            with claimed(self.path):
                shutil.rmtree(self.path)
        except RunTaken:
            raise
        except UsageError as error:
            raise UsageError(
                f"run {self.run} cannot be deleted: {self.path} is not for this user to write"
            ) from error
        except OSError as error:
            raise UsageError(f"run {self.run} cannot be deleted: {error}") from error

    @property
    def is_running(self) -> bool:
        """Whether its controller lives."""
        return is_driven(self.path)


def folder_of(model: Path) -> RunFolder:
    """The run's folder that a model file is in, if it is in one."""
    folder = model.parent
    return RunFolder(folder.parent if folder.name == PERSONAL_NAME else folder)


def as_lost(report: RunReport) -> RunReport:
    """The report of a run that nobody drives, if it says that it goes on."""
    if report.status != "running":
        return report
    error = ErrorReport(kind="killed", message="its controller ended without a word")
    return replace(report, status="lost", error=error)


def check_run_dir(run_dir: Path) -> None:
    """Refuse, before servers are started for a run, a place that plainly takes no folder.

    Raises:
        UsageError: it is a file, below one, or not for this user to write.
    """
    places = (run_dir, *run_dir.absolute().parents)
    nearest = next(place for place in places if os.path.lexists(place))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "is not for this user to write" if nearest.is_dir() else "is no folder"
        raise UsageError(
            f"no run can be kept in {run_dir}: {nearest} {why}; name another place with --run-dir"
        )


def create_run_folder(run_dir: Path, job: str, dataset: str) -> RunFolder:
    """A new folder; ids sort by time and name what they are.

    Raises:
        UsageError: the folder cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    # A data set's name may carry a configuration and a version: name/config:1.0.0.
    name = re.sub(r"[^\w.]+", "-", dataset)[-_NAME_LENGTH:]
    try:
        while True:
            path = run_dir / f"{stamp}-{job}-{name}-{secrets.token_hex(2)}"
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not path.exists():  # The run directory is a file.
                    raise
        try:
            # A folder may be made where there is no room for anything in it.
            write_whole(path / "room", bytes(_ROOM_BYTES))
            (path / "room").unlink()
        except OSError:
            path.rmdir()
            raise
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"no run can be kept in {run_dir} ({why}); name another place with --run-dir"
        ) from error
    return RunFolder(path)


def find_run(run_dir: Path, run: str) -> RunFolder:
    """The run whose id is `run` or begins or ends with it, or whose folder is the path `run`.

    Raises:
        UsageError: no such run, or several.
    """
    matches = runs_named(run_dir, run)
    exact = [folder for folder in matches if folder.run in (run, Path(run).name)]
    if exact:
        return exact[0]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UsageError(
            f"there is no run {run!r} in {run_dir}: name its id, or the beginning or end of it; "
            "`disdel runs list` shows them all, and --run-dir looks elsewhere"
        )
    found = ", ".join(folder.run for folder in matches[:5])
    raise UsageError(
        f"{run!r} names {len(matches)} runs in {run_dir} ({found}"
        f"{', …' if len(matches) > 5 else ''}): give more of the id; `disdel runs list` "
        "shows them all"
    )


def runs_named(run_dir: Path, run: str) -> list[RunFolder]:
    """The runs whose id is `run` or begins or ends with it, or whose folder is the path `run`."""
    run = run.rstrip(os.sep) or run
    named = Path(run)
    if named.name == REPORT_NAME:
        named = named.parent
    if named.name in ("", ".."):
        named = Path(os.path.abspath(named))  # noqa: PTH100 - the run is called as its folder
    is_path = named != Path(run) or os.sep in run
    if is_path and _is_run(named):
        return [RunFolder(named)]
    if is_path:
        run_dir, run = named.parent, named.name
    matches = [
        folder
        for folder in run_folders(run_dir)
        if folder.run.startswith(run) or folder.run.endswith(run)
    ]
    # One that lies here, when nothing in the run directory has its name.
    return matches or ([RunFolder(named)] if _is_run(named) else [])


def _is_run(folder: Path) -> bool:
    # Others' folders may be closed to this user.
    with contextlib.suppress(OSError, ValueError):
        return (folder / REPORT_NAME).is_file()
    return False


def run_folders(run_dir: Path) -> Iterator[RunFolder]:
    """Every run with a report, newest first."""
    if run_dir.is_dir():
        for path in sorted(run_dir.iterdir(), reverse=True):
            if _is_run(path):
                yield RunFolder(path)


def latest_trained(run_dir: Path, dataset: str) -> RunFolder:
    """The newest run that trained on `dataset` and left a model.

    Raises:
        UsageError: there is none.
    """
    for folder in run_folders(run_dir):
        try:
            report = folder.read_report()
        except UsageError:
            continue  # It cannot be the one; `disdel runs list` names it.
        trained = report.dataset == dataset and report.job in ("train", "federate")
        if trained and folder.model.is_file():
            return folder
    raise UsageError(
        f"no run in {run_dir} has trained on {dataset!r}; train first: disdel train {dataset}, or "
        "name a model with --model RUN or --model FILE"
    )
