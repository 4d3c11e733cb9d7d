"""A compiled program as a trainer. Needs numpy and IREE's runtime, and no framework."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path
from typing import Any

import iree.runtime as iree
import numpy as np

from disdel.errors import StoreError, UsageError
from disdel.protocol.program import CompileTarget, Program, cpu_flags, module_path
from disdel.runtimes.base import OPTIMIZER_PREFIX, AddedTerms, Scored, Trainer, split_state, sum_of
from disdel.runtimes.compiled.initial_state import initial_state
from disdel.types.arrays import Array, Tensors
from openwhisk_local.machine.cpus import usable_cpus

# IREE's runtime ships few types.
Device = Any
DeviceArray = Any


class CompiledTrainer(Trainer):
    """Trains the program in `folder`.

    Args:
        folder: what `disdel.protocol.program` describes.
        seed: of the initial weights.
        learning_rate: None for the optimizer's own default.
        threads: CPU threads; None for all that this process may use.

    Raises:
        UsageError: there is no program, or none of its modules is for this CPU.
    """

    model_suffix = ".npz"

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        learning_rate: float | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            self._program = Program.read(folder)
        except OSError as error:
            raise UsageError(f"this action carries no compiled network: {error}") from error
        target = choose_target(self._program, platform.machine(), cpu_flags())
        self._device = _device(threads)
        self._train_step = self._load(module_path(folder, "train", target))
        self._score_batch = self._load(module_path(folder, "score", target))
        self._state: list[DeviceArray] = []
        initial = initial_state(self._program, seed)
        rate = f"{OPTIMIZER_PREFIX}.*learning_rate"
        names = [tensor.name for tensor in self._program.state]
        [self._rate_index] = (i for i, name in enumerate(names) if re.fullmatch(rate, name))
        if learning_rate is not None:
            initial[names[self._rate_index]][...] = learning_rate
        self._rate = np.float32(initial[names[self._rate_index]])
        # One number each, in the memory of one.
        self._fresh_optimizer = {
            name: np.broadcast_to(np.ravel(value)[0], value.shape)
            for name, value in split_state(initial)[1].items()
        }
        self.load_state(initial)
        self._trained = 0
        # Whether there is memory that steps have freed.
        self._freed = False
        # What a training step takes at its end: nothing but where the program adds terms.
        self._terms: list[DeviceArray] = []
        self.add_terms(None)
        # And before them, where the program moves averages of batch statistics.
        self._clients: list[DeviceArray] = []
        self.share_steps(1)

    def _load(self, path: Path) -> Any:
        context = iree.SystemContext(config=iree.Config(device=self._device))
        module = iree.VmModule.mmap(context.instance, str(path))
        context.add_vm_module(module)
        return context.modules[module.name]["main"]

    def state(self) -> dict[str, Array]:
        # What the steps have freed is in the way of the copies.
        self._device.allocator.trim()
        return {name: np.array(tensor) for name, tensor in self.peek().items()}

    def peek(self) -> dict[str, Array]:
        return {
            tensor.name: np.asarray(value.to_host()).reshape(tensor.shape)
            for tensor, value in zip(self._program.state, self._state, strict=True)
        }

    def load_state(self, tensors: Tensors) -> None:
        if not split_state(tensors)[1]:
            tensors = {**tensors, **self._fresh_optimizer}
        expected = self._program.state
        names = {tensor.name for tensor in expected}
        if names != tensors.keys():
            odd = sorted(names ^ tensors.keys())
            raise StoreError(f"the stored state is of another network or optimizer: {odd[:3]}")
        for tensor in expected:
            found = tensors[tensor.name]
            if (found.shape, found.dtype.name) != (tensor.shape, tensor.dtype):
                raise StoreError(
                    f"{tensor.name} is stored as {found.dtype}{list(found.shape)} and the network "
                    f"has {tensor.dtype}{list(tensor.shape)}"
                )
        # What this frees is used again, as is what the steps have: a federation's client has few,
        # and memory that the system gave anew would take as long as one of them.
        self._state = []
        self._state = [
            iree.asdevicearray(self._device, np.asarray(tensors[tensor.name], order="C"))
            for tensor in expected
        ]

    def trained(self) -> tuple[str, ...]:
        return self._program.trained

    def frozen(self) -> tuple[str, ...]:
        return self._program.frozen

    def add_terms(self, terms: AddedTerms | None) -> None:
        if not self._program.adds_terms:
            if terms is not None:
                raise UsageError("the network is compiled without terms of a strategy")
            return
        self._terms = []
        added = terms or AddedTerms(0.0, {})
        shapes = {tensor.name: tensor.shape for tensor in self._program.state}
        shifts = [
            np.asarray(added.shift[name] if name in added.shift else np.zeros(shapes[name]))
            for name in self._program.trained
        ]
        self._terms = [
            iree.asdevicearray(self._device, np.asarray(value, np.float32, order="C"))
            for value in (added.proximal, *shifts)
        ]

    def share_steps(self, clients: int) -> None:
        if self._program.moves:
            shared = np.asarray(clients, np.float32)
            self._clients = [iree.asdevicearray(self._device, shared)]

    def train(
        self,
        x: Array,
        y: Array,
        micro_batches: int = 1,  # noqa: ARG002
        rate_factors: Array | None = None,
        seeds: Array | None = None,
    ) -> float:
        """As `Trainer.train`; a compiled step works on a whole batch, however it is to be cut.

        Raises:
            UsageError: the batches are larger than the program's.
        """
        size = self._program.batch_size
        if x.shape[1] > size:
            raise UsageError(f"the network is compiled for batches of {size}, not {x.shape[1]}")
        self._freed = True
        loss_sum = 0.0
        for step, (samples, labels) in enumerate(zip(x, y, strict=True)):
            if rate_factors is not None:
                self._set_rate(rate_factors[step])
            batch = _padded(self._taken(samples), labels, size)
            random = self._random(self._trained if seeds is None else seeds[step])
            *self._state, loss = self._train_step(
                *self._state, *batch, *random, *self._clients, *self._terms
            )
            self._trained += 1
            # Read at once: it lies in one allocation with the state, which would stay with it.
            loss_sum += float(loss.to_host())
        if rate_factors is not None:
            self._set_rate(1.0)
        return loss_sum

    def _random(self, seed: int) -> tuple[DeviceArray, ...]:
        """The random state of a step, where it needs one."""
        if not self._program.draws:
            return ()
        return (iree.asdevicearray(self._device, np.asarray(seed, np.uint32)),)

    def _set_rate(self, factor: float) -> None:
        """The learning rate of the next step; the optimizers keep it among their variables."""
        rate = np.asarray(self._rate * np.float32(factor))
        self._state[self._rate_index] = iree.asdevicearray(self._device, rate)

    def score(self, x: Array, y: Array) -> Scored:
        if self._freed:
            # A score has blocks of other sizes, which would lie beside those.
            self._device.allocator.trim()
            self._freed = False
        size = self._program.score_batch
        model = self._state[: self._program.model_tensors]
        return sum_of(
            self._scored(
                model,
                _padded(self._taken(x[start : start + size]), y[start : start + size], size),
            )
            for start in range(0, len(x), size)
        )

    def _taken(self, x: Array) -> Array:
        """Samples in the dtype that the network was compiled for."""
        return x.astype(self._program.input_dtype, copy=False)

    def _scored(self, model: list[DeviceArray], batch: tuple[Array, Array, Array]) -> Scored:
        loss, hits, *metrics = (sums.to_host() for sums in self._score_batch(*model, *batch))
        return Scored(
            float(loss),
            int(hits) if self._program.classifies else None,
            dict(zip(self._program.metrics, map(float, metrics), strict=True)),
        )

    def save_model(self, path: Path) -> None:
        """Write the state as numpy does: the host makes a Keras file of it."""
        np.savez(path, allow_pickle=False, **self.state())


def choose_target(program: Program, machine: str, flags: frozenset[str]) -> CompileTarget:
    """The fastest target of `program` that a CPU of `machine` with `flags` executes.

    Raises:
        UsageError: it executes none of them.
    """
    targets = [target for target in program.targets if target.machine == machine]
    if not targets:
        machines = ", ".join(dict.fromkeys(target.machine for target in program.targets))
        raise UsageError(
            f"this machine is {machine}, and the network is compiled for {machines}: train with "
            "--runtime tensorflow, or on other machines"
        )
    for target in targets:
        if flags.issuperset(target.cpu_flags):
            return target
    last = targets[-1]
    missing = sorted(set(last.cpu_flags) - flags)
    raise UsageError(
        f"this CPU lacks {', '.join(missing)}, which modules for {last.name} use: train with "
        "--runtime tensorflow, or on other machines"
    )


def _padded(x: Array, y: Array, size: int) -> tuple[Array, Array, Array]:
    """A batch of `size` samples and their weights: 1, or 0 where it was filled up."""
    weights = np.zeros(size, np.float32)
    weights[: len(x)] = 1
    if len(x) == size:
        return np.ascontiguousarray(x), np.ascontiguousarray(y), weights
    rest = size - len(x)
    return (
        np.concatenate([x, np.repeat(x[:1], rest, axis=0)]),
        np.concatenate([y, np.repeat(y[:1], rest)]),
        weights,
    )


@functools.cache
def _device(threads: int | None) -> Device:
    """The CPU with `threads` threads; what it frees is used again instead of given back.

    It is kept: its allocator must outlive every array.
    """
    count = threads or usable_cpus()
    name = "local-sync" if count == 1 else "local-task"
    if count > 1:
        iree.flags.parse_flags(f"--task_topology_group_count={count}")
    driver = iree.get_driver(name)
    first = driver.query_available_devices()[0]
    return driver.create_device(first["device_id"], allocators=["caching"])
