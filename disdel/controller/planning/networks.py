"""The network of a job: a built-in one, or the user's own after it was built once.

A process of its own builds it, since this one loads no framework; what it found is kept, so that
the next plan of the same code and shapes is as fast as that of a built-in network.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from disdel.data import DatasetArrays, check_integers
from disdel.errors import UsageError
from disdel.host import environment
from disdel.host.helper import run_helper
from disdel.host.home import make_own
from disdel.models import choose_model
from disdel.protocol.description import DescribeReply, DescribeRequest
from disdel.protocol.messages import from_json, to_json
from disdel.runtimes.registry import all_runtimes, container_packages, homes_of, runtime_named
from disdel.settings import Settings
from disdel.types import DatasetSpec, ModelSpec, TrainJob, TriedSteps, nameless
from disdel.types.arrays import Array
from disdel.user_code.collecting import UserCode, collect, is_entry, package_version, packages_of
from disdel.user_code.files_read import named_environment, still_holds

# Of what is kept; raised when a description changes.
_FORMAT = 9
# Of samples to try a network out on, as stored. Two tell the axis of a batch from others.
_SAMPLES_BYTES = 64 << 20
_SAMPLES_LEAST = 2
# What decides what a description says, beside the frameworks.
_PACKAGES = ("disdel", "numpy")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A network, and what steps of it took where it was tried out; None where it was not."""

    model: ModelSpec
    steps: TriedSteps | None = None


def choose_network(
    job: TrainJob,
    dataset: DatasetSpec,
    arrays: Callable[[], DatasetArrays],
    before_trial: Callable[[UserCode], object] = lambda _: None,
) -> Chosen:
    """The network of a job for a data set: a built-in one, or a function of the user's.

    Args:
        job: names it.
        dataset: what it is trained on.
        arrays: gives the samples of that, on which a network of the user's is tried out.
        before_trial: is given its code, where trying it out takes seconds for not being known.

    Raises:
        UsageError: no such network, or it cannot be trained on such samples as the job says.
    """
    if not is_entry(job.model):
        if Path(job.model).is_file():
            raise UsageError(
                f"--model {job.model} is a file: a training begins with a built-in network or with "
                "FILE.py:FUNCTION; --resume RUN goes on with one that is trained, and disdel infer "
                "--model FILE evaluates it"
            )
        spec = choose_model(job.model, dataset)
        _check_integers(dataset, arrays, spec)
        return Chosen(spec)
    code = collect(job.model)
    reply = _described(_Asked(code, dataset, job, arrays()), before_trial)
    # Code that was moved or is named in another way is the same code.
    spec = replace(reply.model, name=job.model, code=code.ref)
    _check_schedule(job, spec)
    _check_integers(dataset, arrays, spec)
    return Chosen(spec, reply.steps)


def likely_image(job: TrainJob, code: UserCode, settings: Settings) -> str | None:
    """The image that a network of the user's own will train in, before it was tried out.

    None where that is open, or there is none.
    """
    runtimes = homes_of(packages_of(code)) if job.runtime is None else [runtime_named(job.runtime)]
    images = [settings.image(runtime.image) for runtime in runtimes if runtime.image]
    return images[0] if len(images) == 1 else None


def _check_integers(
    dataset: DatasetSpec, arrays: Callable[[], DatasetArrays], model: ModelSpec
) -> None:
    """Refuse a network that takes float32 where that cannot tell the data set's integers apart.

    Raises:
        UsageError: it cannot.
    """
    if dataset.input_dtype not in ("int32", "int64"):
        return
    if model.takes_integers:
        return
    check_integers(arrays().train_x, dataset.name, model.name)


def _check_schedule(job: TrainJob, model: ModelSpec) -> None:
    """Refuse two schedules at once, and one that would begin anew every round.

    Raises:
        UsageError: the job has such.
    """
    if not model.optimizer(job.optimizer).has_schedule or job.learning_rate is not None:
        return
    if job.rate_schedule.shape != "constant" or job.rate_schedule.warmup:
        raise UsageError(
            f"the optimizer of {model.title} has a learning-rate schedule of its own: leave "
            "--schedule and --warmup out, or give it a number"
        )
    if job.optimizer_state == "reset":
        raise UsageError(
            f"the optimizer of {model.title} has a learning-rate schedule, which would begin "
            "anew every round with --optimizer-state reset: use average or local, or --schedule"
        )


def code_of(model: ModelSpec) -> UserCode | None:
    """The files of the user's own network; None for a built-in one.

    Raises:
        UsageError: they have changed since the network was chosen.
    """
    if model.code is None:
        return None
    code = collect(model.code.entry)
    if code.ref.digest != model.code.digest:
        raise UsageError(f"{code.ref.entry} has changed since this run began; start it again")
    return code


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Of what a description is wanted."""

    code: UserCode
    dataset: DatasetSpec
    job: TrainJob
    arrays: DatasetArrays

    def samples(self) -> dict[str, Array]:
        """The first ones: a batch of the job's, unless that is very large."""
        x, y = self.arrays.train_x, self.arrays.train_y
        fit = _SAMPLES_BYTES // max(1, math.prod(x.shape[1:]) * x.itemsize)
        count = max(_SAMPLES_LEAST, min(self.job.batch_size, fit))
        return {"x": np.array(x[:count]), "y": np.array(y[:count])}

    def key(self, samples: Mapping[str, Array]) -> str:
        """The same for what is described alike."""
        packages = sorted({*_PACKAGES, *container_packages(), *packages_of(self.code)})
        versions = [sys.version, *(f"{name} {package_version(name)}" for name in packages)]
        dataset, job = self.dataset, self.job
        features = [asdict(feature) for feature in dataset.features]
        targets = [asdict(target) for target in nameless(dataset.targets)]
        asked = (features, targets, job.precision or "float32", job.batch_size)
        environment = named_environment(self.code.python.values())
        text = json.dumps([_FORMAT, self.code.ref.digest, asked, versions, environment])
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        for array in samples.values():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _described(asked: _Asked, before_trial: Callable[[UserCode], object]) -> DescribeReply:
    samples = asked.samples()
    kept = environment.state_dir() / "models" / f"{asked.key(samples)}.json"
    try:
        answer = json.loads(kept.read_text(encoding="utf-8"))
        if still_holds(answer["read"]):
            return from_json(DescribeReply, answer["reply"])
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        pass
    before_trial(asked.code)
    answer = _describe(asked, samples)
    reply = from_json(DescribeReply, answer["reply"])
    try:
        make_own(kept.parent)
        kept.write_text(json.dumps(answer), encoding="utf-8")
    except OSError:
        pass  # the next plan takes a few seconds longer
    return reply


def _describe(asked: _Asked, samples: Mapping[str, Array]) -> dict[str, Any]:
    code, dataset = asked.code, asked.dataset
    with tempfile.TemporaryDirectory(prefix="disdel-model-") as scratch:
        folder = Path(scratch)
        # Only what travels to the actions, so that a file which is left out is missed here.
        code.write(folder / "code")
        np.savez(folder / "samples.npz", allow_pickle=False, **samples)
        request = DescribeRequest(
            code=code.ref,
            folder=str(folder / "code"),
            samples=str(folder / "samples.npz"),
            features=dataset.features,
            targets=nameless(dataset.targets),
            batch_size=asked.job.batch_size,
            precision=asked.job.precision or "float32",
        )
        (folder / "in.json").write_text(json.dumps(to_json(request)), encoding="utf-8")
        ended = run_helper(
            [
                *(sys.executable, "-P", "-m", "disdel.models.user.describe"),
                *(str(folder / "in.json"), str(folder / "out.json")),
            ],
            cwd=folder / "code",
            environ=_environ(),
            scratch=folder,
        )
        try:
            answer: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            raise UsageError(ended.why(f"building {code.ref.entry}")) from None
    if "error" in answer:
        said = str(answer["error"])
        # What stayed here may be what was missed.
        missing = "No such file" in said or "not found" in said
        raise UsageError("; ".join((said, *code.left_out)) if missing else said)
    return answer


def _environ() -> dict[str, str]:
    return {
        **environment.for_children(),
        **{name: value for one in all_runtimes() for name, value in one.environment.items()},
        "CUDA_VISIBLE_DEVICES": "-1",
    }
