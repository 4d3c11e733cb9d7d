"""The library's front: what the command line does, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Unpack

from disdel.controller.inference.infer import Inferred
from disdel.controller.runs.run_folder import RunFolder
from disdel.errors import UsageError
from disdel.jobs import find_resumed, look_at_partition, run_federate, run_infer, run_train
from disdel.platforms.registry import give
from disdel.runtimes.registry import runtime_of
from disdel.settings import Settings, changed, resolve
from disdel.settings.keywords import FederateOptions, InferOptions, SettingsOptions, TrainOptions
from disdel.settings.read_options import TableOptions
from disdel.settings.resolving import find
from disdel.settings.settings import NOT_OF_INFER
from disdel.settings.signatures import split, takes_settings
from disdel.settings.wording import in_keywords
from disdel.strategies.asking import in_words
from disdel.types import FederateJob, InferJob, RunReport, TrainJob, Validation
from disdel.types.checks import taken
from disdel.types.dealt import DealtSamples
from disdel.types.events import Listener, check_listener, silent
from disdel.user_code.collecting import read_code
from disdel.user_code.module import UserModule

__all__ = ["Inferred", "Trained", "federate", "infer", "partition", "resume", "train"]

Job = TypeVar("Job", TrainJob, FederateJob)


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        report: everything that is known of the run.
        folder: where its report, logs and model are.
        settings: where it ran, for `evaluate`.
    """

    report: RunReport
    folder: Path
    settings: Settings

    @property
    def accuracy(self) -> float | None:
        """On the test split; None where there are no classes."""
        return self.report.accuracy

    @property
    def model_path(self) -> Path:
        """The file of the averaged model: Keras's, or safetensors of PyTorch tensors."""
        return RunFolder(self.folder).model

    @property
    def model(self) -> Any:
        """The averaged model, loaded in this process by the framework that trained it.

        For a network of your own, the code that made it is imported from the run's folder.

        Raises:
            UsageError: the file is no model, or that code fails here.
        """
        code = read_code(RunFolder(self.folder).code)
        module = None if code is None else UserModule(code.ref, code.folder)
        return runtime_of(self.model_path).load_networks().load_model(self.model_path, module)

    def evaluate(self, input: Path | str | None = None) -> RunReport:  # noqa: A002 - the command's word
        """Evaluate the averaged model in an action, on the test split or on `input`."""
        job = InferJob(
            dataset=self.report.dataset,
            model=str(self.model_path),
            input=taken("input", input, Path | None),
            trust_code=True,
        )
        with in_keywords(InferJob, Settings):
            return run_infer(job, self.settings, silent).report


@takes_settings(TrainJob, Settings)
def train(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[TrainOptions],
) -> Trained:
    """Train a network on a data set, sharded over actions that run at the same time.

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel train`.

    Raises:
        UsageError: a value is of another type, or the job cannot be done as asked.
        DisdelError: the run failed.
    """
    check_listener(listener)
    job, settings = _asked(TrainJob, dataset, options, settings, on)
    report, folder = run_train(job, settings, listener)
    return Trained(report, folder.path, settings)


@takes_settings(FederateJob, Settings)
def federate(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[FederateOptions],
) -> Trained:
    """Train one network over many clients, of which some train in each round on their own samples.

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel federate`.

    Raises:
        UsageError: a value is of another type, or the job cannot be done as asked.
        DisdelError: the run failed.
    """
    check_listener(listener)
    job, settings = _asked(FederateJob, dataset, options, settings, on)
    report, folder = run_federate(job, settings, listener)
    return Trained(report, folder.path, settings)


@takes_settings(InferJob, TableOptions, Settings, without=NOT_OF_INFER)
def infer(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[InferOptions],
) -> Inferred:
    """Evaluate a model on the held-out split of a data set, or predict samples (`input`).

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel infer`.

    Raises:
        UsageError: a value is of another type; no such model, data set or input.
        DisdelError: the run failed.
    """
    check_listener(listener)
    of_job, of_table, of_settings = split(options, InferJob, TableOptions, Settings)
    if unused := sorted(
        NOT_OF_INFER & {name for name, value in of_settings.items() if value is not None}
    ):
        raise UsageError(f"{unused[0]} is for trainings, and an inference makes nothing of it")
    table = resolve(TableOptions, of_table)
    job = resolve(InferJob, {"dataset": dataset, **of_job})
    return run_infer(job, _settings(settings, of_settings, on), listener, table=table)


def _asked(
    of: type[Job], dataset: str, options: Mapping[str, Any], settings: Settings | None, on: Any
) -> tuple[Job, Settings]:
    """The job that a program's options say, and where it is to run.

    Raises:
        UsageError: a value is wrong, or two platforms are named.
    """
    of_job, of_settings = split(options, of, Settings)
    job = resolve(of, {"dataset": dataset, **in_words(of_job)})
    return job, _settings(settings, of_settings, on)


def _settings(
    settings: Settings | None, options: Mapping[str, Any] | None = None, on: Any = None
) -> Settings:
    """The settings that a program gives, with those of its options that it gives beside them.

    Raises:
        UsageError: a value is wrong, or two platforms are named.
    """
    if on is not None:
        options = {**(options or {}), **_platform_on(on, options or {})}
    given: Settings | None = taken("settings", settings, Settings | None)
    if given is None:
        return resolve(Settings, options or {})
    # None leaves it to them, as it leaves it to the environment where there are none.
    said = {name: value for name, value in (options or {}).items() if value is not None}
    return changed(given, said)


def _platform_on(on: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """The option that names the platform of an executor.

    Raises:
        UsageError: it is none, or another platform is named as well.
    """
    from disdel.platforms.executor.provider import provider_on

    for name in ("platform", "apihost", "fabric"):
        if (said := options.get(name)) is not None:
            raise UsageError(f"on gives an executor, and {name} names {said}: leave one out")
    return {"platform": give(provider_on(on), on)}


@takes_settings(Settings)
def resume(
    run: str,
    *,
    epochs: int | None = None,
    rounds: int | None = None,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[SettingsOptions],
) -> Trained:
    """Go on with a training or a federation after its last complete round.

    Args:
        run: its id, or enough of it.
        epochs: more epochs than a training had; None leaves them.
        rounds: more rounds than a federation had; None leaves them.
        settings: where it runs, and in which `run_dir` it is; options count before them.
        listener: called with every event from here on.
        on: an executor, as `train` takes it.
        options: those of `disdel train` that are not about the training itself.

    Raises:
        UsageError: a value is of another type, or it cannot be resumed.
        DisdelError: the run failed.
    """
    check_listener(listener)
    [of_settings] = split(options, Settings)
    settings = _settings(settings, of_settings, on)
    resumed = find_resumed(taken("run", run, str), settings.run_dir)
    epochs, rounds = taken("epochs", epochs, int | None), taken("rounds", rounds, int | None)
    with in_keywords(TrainJob, FederateJob):
        if resumed.progress.federation is None:
            if rounds is not None:
                raise UsageError("rounds is for federations, and a training has epochs")
            report, folder = run_train(resumed.job(epochs), settings, listener, resumed=resumed)
        else:
            if epochs is not None:
                raise UsageError("epochs is for trainings, and a federation has rounds")
            job = resumed.federation(rounds)
            report, folder = run_federate(job, settings, listener, resumed=resumed)
    return Trained(report, folder.path, settings)


def partition(
    dataset: str,
    *,
    partition: str = "iid",
    clients: int | None = None,
    seed: int = 0,
    target_accuracy: float | None = None,
    patience: int | None = None,
    data_dir: Path | str | None = None,
) -> DealtSamples:
    """Look at how a partition deals a data set to clients; nothing is run.

    Args:
        dataset: as for `federate`.
        partition: what deals the training samples to clients.
        clients: how many there are; None for 10, or for as many as the partition makes.
        seed: of what is drawn.
        target_accuracy: as for `federate`; where it or `patience` decides, some samples are held
            out for that, and are nobody's.
        patience: likewise.
        data_dir: the folder of prepared data sets.

    Raises:
        UsageError: a value is of another type, or the samples cannot be dealt so.
    """
    with in_keywords(FederateJob, Settings):
        job = FederateJob(
            dataset=dataset,
            partition=partition,
            clients=clients,
            seed=seed,
            validation=Validation(target_accuracy=target_accuracy, patience=patience),
        )
        folder = find(Settings, "data_dir", taken("data_dir", data_dir, Path | None))
        return look_at_partition(job, folder)
