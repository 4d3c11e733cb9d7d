"""The model of an infer run: where its file is, and what is known of it without a framework."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from disdel.controller.planning.trusted_code import check_trusted
from disdel.controller.runs.run_folder import find_run, folder_of, latest_trained, runs_named
from disdel.errors import UsageError
from disdel.models import choose_model
from disdel.runtimes.registry import model_suffixes, runtime_of
from disdel.runtimes.runtime import ModelFile
from disdel.types import DatasetSpec, ModelFacts
from disdel.user_code.collecting import UserCode, collect, read_code


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model file; `code` is that of a network of the user's own, where it is known."""

    path: Path
    code: UserCode | None = None

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def check_takes(self, dataset: DatasetSpec) -> None:
        """Refuse a model that is known to take other samples, or whose code is missing.

        Raises:
            UsageError: it does, or is, or the file is no model file.
        """
        file = look_at(self.path)
        shape, wanted = file.input_shape, dataset.input_shape
        if shape is not None and (
            len(shape) != len(wanted)
            or any(size not in (None, w) for size, w in zip(shape, wanted, strict=True))
        ):
            raise UsageError(
                f"the model {self.path} takes samples of shape {shape}, and {dataset.name} has "
                f"{wanted}; name another with --model RUN or --model FILE"
            )
        spec = file.spec
        if spec is not None and spec.code is not None and self.code is None:
            raise UsageError(
                f"{self.path} holds weights of {spec.code.entry}, whose code does not lie "
                "beside it in code/; name it with --model-code FILE.py:FUNCTION"
            )

    def changed_code(self) -> str | None:
        """A sentence where the code is known to be another than that which was trained."""
        spec = look_at(self.path).spec
        trained = None if spec is None else spec.code
        if trained is None or self.code is None or trained.digest == self.code.ref.digest:
            return None
        return f"{self.code.ref.entry} is not as {trained.entry} was when {self.path} was trained"

    def facts(self, dataset: DatasetSpec) -> ModelFacts | None:
        """The network's sizes; None where neither its file says them nor the run that it is of."""
        spec = look_at(self.path).spec
        if spec is not None:
            return spec.facts
        folder = folder_of(self.path)
        if self.path != folder.model or not folder.report.is_file():
            return None
        try:
            return choose_model(str(folder.read_report().settings["model"]), dataset).facts
        except (UsageError, KeyError):
            return None


def look_at(path: Path) -> ModelFile:
    """What a model file says of itself.

    Raises:
        UsageError: it is none of the runtime that its suffix is of.
    """
    return runtime_of(path).load_networks().look_at(path)


def find_model(
    model: str | None,
    dataset: str,
    run_dir: Path,
    code: str | None = None,
    *,
    trust_code: bool = False,
) -> ModelSource:
    """The model of a run, a model file, or, for None, that of the newest run on the data set.

    Args:
        model: a run's id, or enough of it, or a file's path.
        dataset: of the run that is looked for.
        run_dir: where runs are.
        code: the function that made the network; None looks beside the file.
        trust_code: run what lies there, also where no training of this user has used it.

    Raises:
        UsageError: there is none, or it comes with code that is not trusted.
    """
    path = _find_file(model, dataset, run_dir)
    if code is not None:
        _check_wants_code(path)
        return ModelSource(path, collect(code))
    beside = read_code(folder_of(path).code)
    if not trust_code:
        check_trusted(path, beside, look_at(path).runs_code)
    return ModelSource(path, beside)


def _check_wants_code(path: Path) -> None:
    """Refuse code for a model that is known to be a built-in network.

    Raises:
        UsageError: it is one.
    """
    spec, folder = look_at(path).spec, folder_of(path)
    built_in = spec is not None and spec.code is None
    if spec is None and path == folder.model and folder.report.is_file():
        with contextlib.suppress(UsageError):
            name = folder.read_report().settings.get("model")
            built_in = isinstance(name, str) and ":" not in name
    if built_in:
        raise UsageError(f"--model-code is for networks of your own, and {path} is a built-in one")


def _find_file(model: str | None, dataset: str, run_dir: Path) -> Path:
    if model is None:
        return latest_trained(run_dir, dataset).model
    path = Path(model)
    if path.suffix in model_suffixes():
        if not path.is_file():
            raise UsageError(
                f"--model {path} does not exist; name a file that does, or the id of a run "
                "(`disdel runs list`)"
            )
        return path
    # A run's id may have a dot too, and its folder is a path.
    if not runs_named(run_dir, model) and (path.suffix or path.exists() or len(path.parts) > 1):
        there = "is no model file" if path.exists() else "does not exist"
        suffixes = " or ".join(model_suffixes())
        raise UsageError(
            f"--model {path} {there}; needed is a file that ends in {suffixes}, or "
            "the id of a run (`disdel runs list`)"
        )
    folder = find_run(run_dir, model)
    if not folder.model.is_file():
        raise UsageError(f"run {folder.run} left no model; its report says why: {folder.report}")
    return folder.model
