"""Variables that look like a setting of disdel's and set nothing: a user of one is told."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from disdel.cli.memory_agent import AgentOptions
from disdel.platforms.registry import names as platforms
from disdel.platforms.registry import provider_of
from disdel.settings import Settings, declared
from disdel.types import FederateJob, InferJob, TrainJob

_PREFIX = "DISDEL_"
_CLASSES = (TrainJob, FederateJob, InferJob, Settings, AgentOptions)
# That have no flag.
_ALONE = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        *("DEBUG", "STATE_DIR", "HELPER_MEMORY_MB", "HELPER_TIMEOUT_S", "MEMORY_SECRET"),
        "SIGNING_KEY",
    )
)
# As for `difflib`: a letter or two of them are others.
_ALIKE = 0.9


def misnamed() -> Iterator[str]:
    """A sentence for each variable that is near to one that would set something."""
    names = [name for name in os.environ if name.startswith(_PREFIX) and name not in _ALONE]
    if not names:
        return
    of_platforms = (provider_of(name).options for name in platforms())
    classes = [*_CLASSES, *(cls for cls in of_platforms if cls is not None)]
    options = [option for cls in classes for option in declared(cls)]
    known = dict.fromkeys(name for option in options for name in option.variables)
    for name in sorted(set(names) - known.keys()):
        called = name.removeprefix(_PREFIX).lower()
        same = [option for option in options if option.name == called]
        near = [option.variables[0] for option in same if option.variables]
        near = near or difflib.get_close_matches(name, [*known, *_ALONE], n=1, cutoff=_ALIKE)
        if near:
            yield f"{name} sets nothing; {' or '.join(near)} does"
        elif any(not option.setting.argument for option in same):
            yield f"{name} sets nothing; {same[0].flag} is a flag only"
