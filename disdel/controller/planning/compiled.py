"""A run whose network is compiled here: its actions, and the Keras file at its end."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disdel.compiler import CompileJob, compile_program
from disdel.compiler.keras_file import TEMPLATE, filled
from disdel.compiler.packages import (
    facts_zip,
    kind_of,
    own_python,
    packages_zip,
    pins,
    stock_python,
)
from disdel.compiler.targets import HOST, portable, target
from disdel.controller.invoking.bundle import build_bundle, check_code, library
from disdel.platforms.base import ActionSpec
from disdel.platforms.registry import chosen
from disdel.settings import Settings
from disdel.strategies.asking import strategy_of
from disdel.types import Capacity, DatasetSpec, ModelSpec, TrainJob
from disdel.user_code.collecting import UserCode
from openwhisk_local.machine.on_disk import OnDisk


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """What a run's actions execute.

    Attributes:
        program: the folder that `disdel.protocol.program` describes.
        packages: the zip of the library and what it imports, or what says which these are.
        kind: of the platform's own Python that it is for.
    """

    program: Path
    packages: OnDisk
    kind: str

    def _executed(self) -> list[Path]:
        """The files that actions need, which are all but that for the host."""
        return [path for path in self.program.iterdir() if path.name != TEMPLATE]

    def action(
        self, name: str, *, memory_mb: int, timeout_s: float, files: Mapping[str, bytes]
    ) -> ActionSpec:
        """The action of that name with these files, on the platform's own Python."""
        if name == "train":
            program = {f"program/{path.name}": path.read_bytes() for path in self._executed()}
            files = {**files, **program}
        return ActionSpec(
            name=name,
            kind=self.kind,
            code=build_bundle(name, packages=self.packages.read(), files=files),
            memory_mb=memory_mb,
            timeout_s=timeout_s,
        )

    def keras_file(self, state: bytes) -> bytes:
        """The Keras file of the network with the weights of a state in numpy's `.npz`."""
        with np.load(io.BytesIO(state)) as tensors:
            return filled(self.program / TEMPLATE, dict(tensors))


def compile_job(
    job: TrainJob, dataset: DatasetSpec, model: ModelSpec, settings: Settings
) -> CompileJob:
    """What is compiled for a job, tuned for this machine if its actions run here.

    Raises:
        UsageError: the settings name an architecture that nothing can be compiled for.
    """
    on_host = chosen(settings).traits.host_packages
    # XLA has no integers of 64 bits here; a step that computes with float32 needs none.
    wide = dataset.input_dtype == "int64" and not model.takes_integers
    return CompileJob(
        model=model,
        input_dtype="float32" if wide else dataset.input_dtype,
        # No client has more.
        batch_size=min(job.batch_size, dataset.train_samples),
        optimizer=model.optimizer(job.optimizer).named,
        targets=HOST if on_host else portable(settings.architectures),
        adds_terms=strategy_of(job).terms() is not None,
    )


def compile_network(
    job: CompileJob, code: UserCode | None, capacity: Capacity, *, has_packages: bool = False
) -> CompiledNetwork:
    """Compile a network, unless an earlier run has, and pack what its actions import.

    Args:
        job: what is compiled.
        code: the files of the user's own network.
        capacity: what the platform allows, and its kinds.
        has_packages: whether it has there what actions import, which is then not packed.

    Raises:
        UsageError: packages are missing, the network cannot be compiled, or the platform has no
            Python for it or no room for the packages.
        CompileFailed: the compiler refused it.
    """
    stock = stock_python(capacity.kinds)
    # Where this machine is what runs it, so is its Python, whatever the kind.
    python = own_python() if job.targets == HOST else stock
    machines = None
    if job.targets != HOST:
        machines = list(dict.fromkeys(target(name).machine for name in job.targets))
    pins(python)  # What is missing is told before anything is compiled.
    pack = facts_zip if has_packages else packages_zip
    with ThreadPoolExecutor(1) as packing:
        packages = packing.submit(pack, library(), python, machines)
        program = compile_program(job, code)
    check_code("what a compiled action imports", packages.result(), capacity)
    return CompiledNetwork(program, OnDisk(packages.result()), kind_of(stock))


def without_image(name: str, settings: Settings, capacity: Capacity) -> ActionSpec:
    """An action that brings what it imports, in the least memory and the ordinary time.

    Args:
        name: of the action.
        settings: name the architectures.
        capacity: what the platform allows, and its kinds.

    Raises:
        UsageError: packages are missing, or the platform has no Python for them.
    """
    stock = stock_python(capacity.kinds)
    machines = [target(one).machine for one in portable(settings.architectures)]
    packages = packages_zip(library(), stock, list(dict.fromkeys(machines)))
    return ActionSpec(
        name=name,
        kind=kind_of(stock),
        code=build_bundle(name, packages=packages),
        memory_mb=capacity.memory_min_mb,
        timeout_s=capacity.timeout_ordinary_s,
    )
