"""Deep-learning training that survives serverless memory and time limits.

import disdel

trained = disdel.train("mnist", batch=64, epochs=5)
print(trained.report.accuracy, trained.model_path)
"""

from __future__ import annotations

TYPE_CHECKING = False  # The name is enough for type checkers; `typing` takes a while to import.
if TYPE_CHECKING:
    from typing import Any

    from disdel import strategies
    from disdel.api import Inferred, Trained, federate, infer, partition, resume, train
    from disdel.errors import DisdelError, UsageError
    from disdel.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "DisdelError",
    "Inferred",
    "Settings",
    "Trained",
    "UsageError",
    "__version__",
    "federate",
    "infer",
    "partition",
    "resume",
    "strategies",
    "train",
]

_HOMES = {
    "DisdelError": "disdel.errors",
    "Inferred": "disdel.api",
    "Settings": "disdel.settings",
    "Trained": "disdel.api",
    "federate": "disdel.api",
    "infer": "disdel.api",
    "partition": "disdel.api",
    "resume": "disdel.api",
    "UsageError": "disdel.errors",
    "train": "disdel.api",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Load the front on first use: parts of the library are imported where there is no Redis."""
    from importlib import import_module

    if name == "strategies":
        return import_module("disdel.strategies")
    if name not in _HOMES:
        raise AttributeError(f"module 'disdel' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
