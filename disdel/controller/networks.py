"""The network of a job: a built-in one, or the user's own after it was built once.

A process of its own builds it, since this one loads no framework; what it found is kept, so that
the next plan of the same code and shapes is as fast as that of a built-in network.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from disdel import config
from disdel.catalog.models import choose_model
from disdel.errors import UsageError
from disdel.files_read import named_environment, still_holds
from disdel.helper import run_helper
from disdel.types import DatasetSpec, ModelSpec, Precision
from disdel.user_code import UserCode, collect, is_entry, package_version, packages_of
from disdel.wire import DescribeReply, DescribeRequest, from_json, to_json

# Of what is kept; raised when a description changes.
_FORMAT = 3
_PACKAGES = ("disdel", "keras", "numpy", "tensorflow", "tensorflow-cpu", "torch")


def choose_network(name: str, dataset: DatasetSpec, precision: Precision = "float32") -> ModelSpec:
    """The network `name` for a data set: a built-in one, or a function of the user's.

    Raises:
        UsageError: no such network, or it cannot be trained on such samples in this precision.
    """
    if not is_entry(name):
        return choose_model(name, dataset)
    code = collect(name)
    reply = _described(code, dataset, precision)
    # Code that was moved or is named in another way is the same code.
    own = replace(reply.own, code=code.ref)
    return ModelSpec(
        name=name,
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        target=reply.target,
        own=own,
    )


def code_of(model: ModelSpec) -> UserCode | None:
    """The files of the user's own network; None for a built-in one.

    Raises:
        UsageError: they have changed since the network was chosen.
    """
    if model.own is None:
        return None
    code = collect(model.own.code.entry)
    if code.ref.digest != model.own.code.digest:
        raise UsageError(f"{code.ref.entry} has changed since this run began; start it again")
    return code


def _described(code: UserCode, dataset: DatasetSpec, precision: Precision) -> DescribeReply:
    kept = config.state_dir() / "models" / f"{_key(code, dataset, precision)}.json"
    try:
        answer = json.loads(kept.read_text(encoding="utf-8"))
        if still_holds(answer["read"]):
            return from_json(DescribeReply, answer["reply"])
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        pass
    answer = _describe(code, dataset, precision)
    reply = from_json(DescribeReply, answer["reply"])
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(answer), encoding="utf-8")
    except OSError:
        pass  # the next plan takes a few seconds longer
    return reply


def _key(code: UserCode, dataset: DatasetSpec, precision: Precision) -> str:
    packages = sorted({*_PACKAGES, *packages_of(code)})
    versions = [sys.version, *(f"{name} {package_version(name)}" for name in packages)]
    form = (dataset.input_shape, dataset.input_dtype, dataset.classes, precision)
    environment = named_environment(code.python.values())
    text = json.dumps([_FORMAT, code.ref.digest, form, versions, environment])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _describe(code: UserCode, dataset: DatasetSpec, precision: Precision) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="disdel-model-") as scratch:
        folder = Path(scratch)
        # Only what travels to the actions, so that a file which is left out is missed here.
        code.write(folder / "code")
        request = DescribeRequest(
            code=code.ref,
            folder=str(folder / "code"),
            input_shape=dataset.input_shape,
            input_dtype=dataset.input_dtype,
            classes=dataset.classes,
            precision=precision,
        )
        (folder / "in.json").write_text(json.dumps(to_json(request)), encoding="utf-8")
        ended = run_helper(
            [
                *(sys.executable, "-P", "-m", "disdel.worker.describe"),
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
    # The child finds this package where this process did, installed or not.
    search_path = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
