"""From the wire's description of a network to a trainer. Imports a framework when called."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from disdel.errors import UsageError
from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.types import DEFAULT_OPTIMIZER, RuntimeName
from disdel.types.arrays import Array
from disdel.worker.footprint import Footprint, footprint_now
from openwhisk_local.machine.allocator import give_back_freed_memory

# What an activation imports first, and what builds its trainer.
_FRAMEWORKS: dict[RuntimeName, str] = {
    "tensorflow": "keras",
    "torch": "torch",
    "compiled": "iree.runtime",
}

# Samples that a lazy module learns its shapes from.
_SHOWN = 2

# Where an action's zip holds a compiled network: beside the package `disdel`.
_PROGRAM = Path(__file__).resolve().parents[2] / "program"


class TrainerCache:
    """The last trainer built in this container, for the next activation of the same network.

    Only the compiled network is worth keeping: its state is loaded anew by every activation.

    Attributes:
        framework: what was resident when the framework had been imported, and nothing built.
    """

    def __init__(self) -> None:
        self.framework: Footprint | None = None
        self._key: tuple[Network, str] | None = None
        self._trainer: Trainer | None = None

    def import_framework(self, runtime: RuntimeName) -> None:
        """Import it before there are samples: its own memory can be told apart only then.

        Raises:
            UsageError: this container does not have it.
        """
        if self.framework is not None:
            return
        try:
            import_module(_FRAMEWORKS[runtime])
        except ImportError as error:
            raise UsageError(f"this container cannot run {runtime}: {error}") from error
        # A compiled action's code is large, and init has left its copies behind.
        give_back_freed_memory()
        self.framework = footprint_now()

    def get(self, network: Network, samples: Array) -> Trainer:
        """The trainer of `network` for such samples as stored, in whatever state it is."""
        key = (network, samples.dtype.name)
        if self._trainer is None or self._key != key:
            self._trainer = _BUILDERS[network.runtime](network, samples)
            self._key = key
        return self._trainer


def _keras_trainer(network: Network, samples: Array) -> Trainer:
    import keras

    from disdel.models.builtin.keras_models import build_keras_model
    from disdel.models.user.keras_model import own_keras_trainer
    from disdel.runtimes.devices import choose_keras_device
    from disdel.runtimes.keras.recipe import recipe_for
    from disdel.runtimes.keras.trainer import KerasTrainer, pin_threads

    pin_threads(network.threads)
    choose_keras_device(network.gpu_memory_mb)
    keras.utils.set_random_seed(network.seed)
    input_dtype = samples.dtype.name
    if network.model.own is not None:
        return own_keras_trainer(network, network.model.own, input_dtype)
    return KerasTrainer(
        build_keras_model(network.model, input_dtype=input_dtype),
        optimizer=network.optimizer or DEFAULT_OPTIMIZER,
        learning_rate=network.learning_rate,
        input_dtype=input_dtype,
        recipe=replace(
            recipe_for(network.model.target, probabilities=True),
            loss_unit=network.model.loss_unit,
        ),
        precision=network.precision,
    )


def _torch_trainer(network: Network, samples: Array) -> Trainer:
    from disdel.models.builtin.torch_models import TorchNetwork
    from disdel.models.torch_files import TorchFile, write_torch_file
    from disdel.runtimes.devices import choose_torch_device
    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.recipe import built_in_recipe
    from disdel.runtimes.torch.trainer import TorchTrainer, pin_threads, seed_all

    pin_threads(network.threads)
    device = choose_torch_device(network.gpu_memory_mb)
    seed_all(network.seed)
    if network.model.own is not None:
        from disdel.models.user.torch_model import own_torch_trainer

        return own_torch_trainer(network, network.model.own, samples[:_SHOWN], device)
    input_dtype = samples.dtype.name
    model = TorchNetwork(network.model, input_dtype=input_dtype).to(device)
    about = TorchFile(model=network.model, input_dtype=input_dtype)
    rule = keras_rule(network.optimizer or DEFAULT_OPTIMIZER, network.learning_rate)
    return TorchTrainer(
        model,
        optimizer=TorchOptimizer([Group(rule, dict(model.named_parameters()))]),
        save=lambda path: write_torch_file(model.state_dict(), path, about),
        recipe=built_in_recipe(network.model),
        precision=network.precision,
    )


def _compiled_trainer(network: Network, samples: Array) -> Trainer:  # noqa: ARG001 - compiled in
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    return CompiledTrainer(
        _PROGRAM,
        seed=network.seed,
        learning_rate=network.learning_rate,
        threads=network.threads,
    )


_BUILDERS = {
    "tensorflow": _keras_trainer,
    "torch": _torch_trainer,
    "compiled": _compiled_trainer,
}
