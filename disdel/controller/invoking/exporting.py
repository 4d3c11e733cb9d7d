"""A folder with the worker side of disdel, which another platform's own tool deploys."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from disdel.compiler.packages import pins, stock_python
from disdel.controller.invoking.bundle import ENTRY, library
from disdel.errors import UsageError
from disdel.platforms.http.exported import Limits, exported
from disdel.protocol.calls import DEPLOYED, LIBRARY
from disdel.runtimes.runtime import Runtime

# What actions import beside a framework.
IMPORTED = ("cryptography", "dacite", "numpy", "packaging", "redis", "safetensors")
_ROOT = Path(__file__).parents[3]


def export(platform: str, folder: Path, limits: Limits, runtime: Runtime) -> list[Path]:
    """Write the folder, and say which files are in it.

    Args:
        platform: what it is for.
        folder: a new or an empty one, or one that was written before for it.
        limits: of an instance.
        runtime: what train actions compute with there.

    Raises:
        UsageError: there is something else in it, it cannot be written, or a package is missing.
    """
    files = exported(
        platform,
        limits,
        library=library(),
        entry={path: (_ROOT / path).read_bytes() for path in ENTRY},
        packages=_pinned(runtime),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Of this platform, and not of a folder in it: what else is there is somebody's own.
        [deployed] = (folder / path for path in files if Path(path).name == DEPLOYED)
        if not deployed.is_file() and (others := sorted(folder.iterdir())):
            raise UsageError(
                f"{folder} has other files in it, such as {others[0].name}: name a new folder"
            )
        for package in LIBRARY:
            shutil.rmtree(deployed.parent / package, ignore_errors=True)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return sorted(map(Path, files))


def _pinned(runtime: Runtime) -> list[str]:
    """What its actions import, in the versions that are installed here."""
    if runtime.compiles:
        # Those that its actions carry elsewhere: on other versions a network has other bits.
        carried = dict(pin.split("==") for pin in pins(stock_python(())))
        versions = {name: _version(name) for name in IMPORTED} | carried
    else:
        framework = [name for name in runtime.packages if _version(name)] or runtime.packages[:1]
        # A build for CPUs lies on an index of its own.
        versions = {name: _version(name).partition("+")[0] for name in (*IMPORTED, *framework)}
    return [f"{name}=={version}" if version else name for name, version in versions.items()]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
