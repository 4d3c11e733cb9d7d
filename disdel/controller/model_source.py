"""The model of an infer run: where its file is, and what is known of it without a framework."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import safetensors

from disdel.catalog.models import choose_model, model_facts
from disdel.controller.run_folder import RunFolder, find_run, latest_trained
from disdel.errors import UsageError
from disdel.scheduler.runtimes import RUNTIMES, TORCH, runtime_of
from disdel.types import DatasetSpec, ModelFacts


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model file; `size_bytes` is its own."""

    path: Path

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def check_takes(self, dataset: DatasetSpec) -> None:
        """Refuse a model that is known to take other samples.

        Raises:
            UsageError: it does, or the file is no model file.
        """
        shape, wanted = self._input_shape(), dataset.input_shape
        if shape is not None and (
            len(shape) != len(wanted)
            or any(size not in (None, w) for size, w in zip(shape, wanted, strict=True))
        ):
            raise UsageError(
                f"the model {self.path} takes samples of shape {shape}, and {dataset.name} has "
                f"{wanted}; name another with --model RUN or --model FILE"
            )

    def facts(self, dataset: DatasetSpec) -> ModelFacts | None:
        """The network's sizes, where the run that left the file trained a built-in one."""
        folder = RunFolder(self.path.parent)
        if self.path != folder.model or not folder.report.is_file():
            return None
        try:
            return model_facts(choose_model(folder.read_report()["settings"]["model"], dataset))
        except (UsageError, KeyError, TypeError):
            return None

    def _input_shape(self) -> tuple[int | None, ...] | None:
        """Without the batch axis; None where the file does not say it in the plain way."""
        if runtime_of(self.path) is TORCH:
            return self._torch_input_shape()
        try:
            with zipfile.ZipFile(self.path) as archive:
                config = json.loads(archive.read("config.json"))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(f"the model {self.path} is no Keras file: {error}") from error
        layers = config.get("config", {}).get("layers", [])
        shapes = [
            layer["config"].get("batch_shape")
            for layer in layers
            if layer.get("class_name") == "InputLayer"
        ]
        return tuple(shapes[0][1:]) if len(shapes) == 1 and shapes[0] else None

    def _torch_input_shape(self) -> tuple[int, ...]:
        try:
            with safetensors.safe_open(self.path, framework="numpy") as file:
                fields = json.loads((file.metadata() or {})["disdel"])
            return tuple(fields["model"]["input_shape"])
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise UsageError(f"the model {self.path} is no file of disdel's: {error}") from error


def find_model(model: str | None, dataset: str, run_dir: Path) -> ModelSource:
    """The model of a run, a model file, or, for None, that of the newest run on the data set.

    Raises:
        UsageError: there is none.
    """
    if model is None:
        return ModelSource(latest_trained(run_dir, dataset).model)
    path = Path(model)
    if path.suffix in {runtime.model_suffix for runtime in RUNTIMES.values()}:
        if not path.is_file():
            raise UsageError(f"--model {path} does not exist")
        return ModelSource(path)
    folder = find_run(run_dir, model)
    if not folder.model.is_file():
        raise UsageError(f"run {folder.run} left no model; its report says why: {folder.report}")
    return ModelSource(folder.model)
