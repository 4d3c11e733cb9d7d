"""What a train container keeps from one activation to the next: its framework and its trainer."""

from __future__ import annotations

from dataclasses import replace

from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.runtimes.registry import runtime_named
from disdel.types.arrays import Array
from disdel.types.names import RuntimeName
from disdel.worker.footprint import Footprint, footprint_now
from openwhisk_local.machine.allocator import give_back_freed_memory


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
        runtime_named(runtime).import_framework()
        # A compiled action's code is large, and init has left its copies behind.
        give_back_freed_memory()
        self.framework = footprint_now()

    def get(self, network: Network, samples: Array) -> Trainer:
        """The trainer of `network` for such samples as stored, in whatever state it is."""
        # What it computes in can be said of a trainer at any time.
        key = (replace(network, precision="float32"), samples.dtype.name)
        if self._trainer is None or self._key != key:
            networks = runtime_named(network.runtime).load_networks()
            self._trainer = networks.build_trainer(key[0], samples)
            self._key = key
        return self._trainer
