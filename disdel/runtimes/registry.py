"""The runtimes by name. Importing this imports no framework."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from disdel.errors import UsageError
from disdel.runtimes.compiled.runtime import COMPILED
from disdel.runtimes.keras.runtime import TENSORFLOW
from disdel.runtimes.runtime import Runtime
from disdel.runtimes.torch.runtime import TORCH
from disdel.types.names import Precision, RuntimeName

# collectWeights needs Python, numpy and the Redis client alone.
BASE_IMAGE = "runtime-base"

# What stands in where nobody tells what a platform has.
DEFAULT = TENSORFLOW

_runtimes: dict[RuntimeName, Runtime] = {}


def register(runtime: Runtime) -> None:
    """Offer a runtime by its name.

    Raises:
        ValueError: another one has it.
    """
    if _runtimes.setdefault(runtime.name, runtime) is not runtime:
        raise ValueError(f"there is a runtime {runtime.name} already")


for _runtime in (TENSORFLOW, TORCH, COMPILED):
    register(_runtime)


@contextmanager
def registered(runtime: Runtime) -> Iterator[Runtime]:
    """Inside, a runtime is offered by its name."""
    register(runtime)
    try:
        yield runtime
    finally:
        del _runtimes[runtime.name]


def all_runtimes() -> tuple[Runtime, ...]:
    """In the order in which they were registered."""
    return tuple(_runtimes.values())


def runtime_named(name: RuntimeName) -> Runtime:
    """The runtime of that name.

    Raises:
        UsageError: there is none; the message has those that there are.
    """
    if name not in _runtimes and name.isidentifier():
        _look_for(f"{__package__}.{name}")
    if name in _runtimes:
        return _runtimes[name]
    near = difflib.get_close_matches(str(name), _runtimes, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(
        f"unknown runtime {name!r}{hint}; known: {', '.join(_runtimes)}; auto (in Python None) "
        "chooses one of them"
    )


def _look_for(module_name: str) -> None:
    """Register the runtime in a module, if there is one: an action has such (see `files_of`)."""
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        return
    for value in vars(module).values():
        if isinstance(value, Runtime):
            register(value)


def files_of(runtime: Runtime) -> dict[str, bytes]:
    """The files beyond the library that an action needs to have a runtime, by path in its zip.

    That is one file for a runtime that is registered by somebody else: the module of its networks,
    which must have the runtime too.

    Raises:
        UsageError: its networks are in no file.
    """
    if runtime.networks.startswith("disdel."):
        return {}
    path = getattr(runtime.load_networks(), "__file__", None)
    if path is None:
        raise UsageError(f"{runtime.networks} is in no file that actions could be given")
    return {f"disdel/runtimes/{runtime.name}.py": Path(path).read_bytes()}


def check_runtime(name: RuntimeName | None, precision: Precision | None) -> None:
    """Refuse a runtime that does not exist, or does not compute in a precision.

    Args:
        name: what was asked for; None leaves the choice.
        precision: what training steps are to compute in; None leaves the choice.

    Raises:
        UsageError: it is such a one.
    """
    if name is None or precision in (None, *runtime_named(name).precisions):
        return
    able = [runtime.name for runtime in all_runtimes() if precision in runtime.precisions]
    raise UsageError(
        f"--runtime {name} computes in {' or '.join(runtime_named(name).precisions)}, not "
        f"{precision}: take --runtime {' or '.join(able)} for that"
    )


def homes_of(packages: Collection[str]) -> list[Runtime]:
    """The runtimes with whose frameworks networks are made in code that has these packages."""
    return [
        runtime
        for runtime in all_runtimes()
        if runtime.users is not None and not set(runtime.users.packages).isdisjoint(packages)
    ]


def runtime_of(model: Path) -> Runtime:
    """The runtime whose containers open a model file, by the file's suffix.

    Raises:
        LookupError: none of them does.
    """
    for runtime in all_runtimes():
        if runtime.opens_models and runtime.model_suffix == model.suffix:
            return runtime
    raise LookupError(model.suffix)


def model_suffixes() -> list[str]:
    """The suffixes of model files, in order."""
    return sorted({runtime.model_suffix for runtime in all_runtimes()})


def container_packages() -> tuple[str, ...]:
    """The packages of frameworks that images have."""
    return tuple(package for one in all_runtimes() if one.image for package in one.packages)
