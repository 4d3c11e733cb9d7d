"""How the updates of a round become the next model: classes for `--strategy` and `strategy=`.

import disdel

disdel.train("mnist", strategy=disdel.strategies.FedProx(mu=0.01))

Each is found in its module when it is asked for: an action reads only the one that it needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from disdel.strategies.base import (
        Advanced,
        Block,
        ClientBlock,
        Contribution,
        Geometry,
        Strategy,
        Terms,
    )
    from disdel.strategies.fedadagrad import FedAdagrad
    from disdel.strategies.fedadam import FedAdam
    from disdel.strategies.fedasync import FedAsync
    from disdel.strategies.fedavg import FedAvg
    from disdel.strategies.fedavgm import FedAvgM
    from disdel.strategies.fedbuff import FedBuff
    from disdel.strategies.fednova import FedNova
    from disdel.strategies.fedprox import FedProx
    from disdel.strategies.fedyogi import FedYogi
    from disdel.strategies.krum import Krum, MultiKrum
    from disdel.strategies.median import Median
    from disdel.strategies.nesterov import Nesterov
    from disdel.strategies.norm_clipping import NormClipping
    from disdel.strategies.registry import register
    from disdel.strategies.scaffold import Scaffold
    from disdel.strategies.trimmed_mean import TrimmedMean

__all__ = [
    "Advanced",
    "Block",
    "ClientBlock",
    "Contribution",
    "FedAdagrad",
    "FedAdam",
    "FedAsync",
    "FedAvg",
    "FedAvgM",
    "FedBuff",
    "FedNova",
    "FedProx",
    "FedYogi",
    "Geometry",
    "Krum",
    "Median",
    "MultiKrum",
    "Nesterov",
    "NormClipping",
    "Scaffold",
    "Strategy",
    "Terms",
    "TrimmedMean",
    "register",
]

_HOMES = {
    "Advanced": "base",
    "Block": "base",
    "ClientBlock": "base",
    "Contribution": "base",
    "Geometry": "base",
    "MultiKrum": "krum",
    "NormClipping": "norm_clipping",
    "Strategy": "base",
    "Terms": "base",
    "TrimmedMean": "trimmed_mean",
    "register": "registry",
}


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'disdel.strategies' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, name.lower())}"), name)
