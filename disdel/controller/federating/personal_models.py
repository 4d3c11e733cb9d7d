"""The models that clients train further from the finished one, as files of the run's folder."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.controller.invoking.invoker import Invoker
from disdel.controller.planning.compiled import CompiledNetwork
from disdel.controller.runs.rescue import write_whole
from disdel.planner.memory import state_bytes
from disdel.types import ModelSpec
from disdel.types.events import Noted
from disdel.types.units import format_bytes


class PersonalModels:
    """Takes each client's model from the store to a file.

    Args:
        invoker: of the run.
        dataset: that they are trained on.
        suffix: of the runtime's model files.
        model: the network.
        compiled: writes the files of a compiled network, whose actions store its state.
    """

    def __init__(
        self,
        invoker: Invoker,
        dataset: str,
        suffix: str,
        model: ModelSpec,
        compiled: CompiledNetwork | None,
    ) -> None:
        self._invoker = invoker
        self._dataset = dataset
        self._suffix = suffix
        # Weights, and at most two moments of an optimizer.
        self.most_bytes = state_bytes(model.facts)
        self._compiled = compiled
        self._written_bytes: list[int] = []
        self._failed: dict[int, str] = {}

    def key(self, client: int) -> str:
        """Where a client's model is to be stored."""
        return self._invoker.keys.personal(client)

    def fetch(self, clients: Sequence[int]) -> None:
        """Write the files of those that have stored their models.

        Raises:
            StoreError: one cannot be read.
        """
        store = self._invoker.session.store
        for client in clients:
            data = bytes(store.get(self.key(client)))
            if self._compiled is not None:
                data = self._compiled.keras_file(data)
            path = self._invoker.folder.personal(client, self._suffix)
            try:
                path.parent.mkdir(exist_ok=True)
                write_whole(path, data)
            except OSError as error:
                self._failed[client] = f"{path} cannot be written ({error.strerror or error})"
            else:
                self._written_bytes.append(len(data))
            store.delete(self.key(client))

    def tell(self, clients: int) -> None:
        """Say where the files are, and of how many of so many clients."""
        if self._written_bytes:
            path = self._invoker.folder.personal("CLIENT", self._suffix)
            told = (
                f"personal models of {len(self._written_bytes)} of {clients} clients, "
                f"{format_bytes(sum(self._written_bytes))}, are in {path.parent}: disdel infer "
                f"{self._dataset} --model {path} takes one"
            )
            self._invoker.emit(Noted(message=told))
        if self._failed:
            why = next(iter(self._failed.values()))
            told = f"personal models of {len(self._failed)} clients are lost: {why}"
            self._invoker.emit(Noted(message=told, matters=True))
