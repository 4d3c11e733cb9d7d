"""Model files in the store: of a trainer's state, and read to a function of samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from disdel.errors import UsageError
from disdel.runtimes.base import Trainer
from disdel.runtimes.registry import runtime_named
from disdel.runtimes.runtime import Predictor
from disdel.store.base import Store
from disdel.types.names import RuntimeName
from disdel.worker.context import Context
from openwhisk_local.machine.allocator import give_back_freed_memory

_BLOCK_BYTES = 4 << 20


def load_predictor(runtime: RuntimeName, path: Path, threads: int | None) -> Predictor:
    """The model in a file of a runtime, as `runtimes.runtime.Networks` has it.

    Raises:
        UsageError: the file is no model of one input, or its framework is not here.
    """
    try:
        return runtime_named(runtime).load_networks().load_predictor(path, threads)
    except ImportError as error:
        raise UsageError(f"the model cannot be loaded: {error}") from error


class PredictorCache:
    """The last model loaded in this container, for the next activation of the same run."""

    def __init__(
        self, load: Callable[[RuntimeName, Path, int | None], Predictor] = load_predictor
    ) -> None:
        self._load = load
        self._key: str | None = None
        self._predictor: Predictor | None = None

    def get(
        self, key: str, runtime: RuntimeName, threads: int | None, context: Context
    ) -> Predictor:
        """The model of `runtime` under `key`, waiting for the controller to finish writing it.

        Raises:
            StoreError: it cannot be read.
            UsageError: it is no model (see `load_predictor`).
        """
        if self._predictor is None or self._key != key:
            self._predictor = None
            context.wait_for(key)
            with tempfile.TemporaryDirectory() as folder:
                # Keras knows its files by their suffix.
                path = Path(folder) / f"model{runtime_named(runtime).model_suffix}"
                _copy(context.store, key, path)
                self._predictor = self._load(runtime, path, threads)
            self._key = key
            give_back_freed_memory()
        return self._predictor


def store_model(trainer: Trainer, store: Store, key: str) -> None:
    """Store the present state of a trainer as a model file of its framework."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{trainer.model_suffix}"
        trainer.save_model(path)
        store.put(key, path.read_bytes())


def _copy(store: Store, key: str, path: Path) -> None:
    """Write a blob to a file, a block at a time."""
    blob = store.existing(key)
    with path.open("wb") as file:
        for start in range(0, blob.size, _BLOCK_BYTES):
            block = bytearray(min(_BLOCK_BYTES, blob.size - start))
            blob.read_into(memoryview(block), start)
            file.write(block)
