"""Where the files that are not library code lie: in a checkout, or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def asset_dir(name: Literal["actions", "runtime-image"]) -> Path:
    """The folder of action sources or of the runtime image.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    candidates = (_PACKAGE / "_assets" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"disdel is installed without its {name} folder: looked at {looked}")
