"""The logs of a run's activations, saved beside the run: no run fails for want of one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from disdel.controller.runs.run_folder import RunFolder
from disdel.errors import DisdelError
from disdel.platforms.base import Platform
from disdel.types.events import Listener, Noted

# A record is stored only after its logs were collected.
_WITHIN_S = 30.0
# A container that was killed has its log at once or not at all, and its work waits.
_OF_FAILED_S = 5.0
# That logs are late is told when somebody waits for so long.
_TELL_AFTER_S = 2.0


@dataclass(slots=True)
class ActivationLogs:
    """Fetches logs while the run goes on.

    Attributes:
        platform: has them.
        folder: gets them.
        emit: told of those that are missing.
    """

    platform: Platform
    folder: RunFolder
    emit: Listener
    _fetching: set[asyncio.Task[tuple[str, ...]]] = field(default_factory=set)
    _missing: dict[str, str] = field(default_factory=dict)

    def fetch(self, activation_id: str, worker: int | None) -> None:
        """Save the log of an activation when it comes."""
        task = asyncio.create_task(self._save(activation_id, worker, _WITHIN_S))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def of_failed(self, activation_id: str, worker: int | None) -> tuple[str, ...]:
        """The log of an activation that has failed, saved; empty where it does not come soon."""
        return await self._save(activation_id, worker, _OF_FAILED_S)

    async def _save(
        self, activation_id: str, worker: int | None, within_s: float
    ) -> tuple[str, ...]:
        try:
            lines = await self.platform.logs(activation_id, within_s=within_s)
            path = self.folder.log(worker=worker, activation_id=activation_id)
            path.parent.mkdir(exist_ok=True)
            text = "".join(f"{line}\n" for line in lines)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except (DisdelError, OSError) as error:
            self._missing[activation_id] = str(error)
            return ()
        return lines

    async def finish(self) -> None:
        """Wait for the logs that are still on their way, and tell which have not come."""
        if self._fetching:
            await asyncio.wait(self._fetching, timeout=_TELL_AFTER_S)
        if late := len(self._fetching):
            self.emit(
                Noted(
                    message=f"waiting for the log{'s' * (late > 1)} of {late} "
                    f"activation{'s' * (late > 1)}, at most {_WITHIN_S:g} s"
                )
            )
            await asyncio.wait(self._fetching)
        if self._missing:
            first, why = next(iter(self._missing.items()))
            others = len(self._missing) - 1
            more = f" and of {others} more" if others else ""
            self.emit(Noted(message=f"no log of activation {first}{more} was saved: {why}"))
