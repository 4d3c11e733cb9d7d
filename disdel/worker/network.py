"""From the wire's description of a network to a trainer."""

from __future__ import annotations

from disdel.catalog.models.keras_models import build_keras_model
from disdel.training.base import Trainer
from disdel.training.keras_adapter import KerasTrainer, pin_threads
from disdel.wire import Network
from disdel.worker.footprint import Footprint, footprint_now


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

    def import_framework(self) -> None:
        """Import it before there are samples: its own memory can be told apart only then."""
        if self.framework is None:
            import keras  # noqa: F401

            self.framework = footprint_now()

    def get(self, network: Network, input_dtype: str) -> Trainer:
        """The trainer of `network` for samples of `input_dtype`, in whatever state it is."""
        key = (network, input_dtype)
        if self._trainer is None or self._key != key:
            self._trainer = _build(network, input_dtype)
            self._key = key
        return self._trainer


def _build(network: Network, input_dtype: str) -> Trainer:
    import keras

    pin_threads(network.threads)
    keras.utils.set_random_seed(network.seed)
    return KerasTrainer(
        build_keras_model(network.model, input_dtype=input_dtype),
        optimizer=network.optimizer,
        learning_rate=network.learning_rate,
        input_dtype=input_dtype,
    )
