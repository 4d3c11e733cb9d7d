"""A folder with the worker side of disdel, which another platform's own tool deploys."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from disdel.compiler.packages import own_python, pins, stock_python
from disdel.controller.invoking.bundle import ENTRY, library
from disdel.errors import UsageError
from disdel.platforms.exported import ORDINARY, Content, Limits, Target, exported
from disdel.platforms.http.targets import TARGETS as HTTP
from disdel.platforms.lambda_.images import TARGET as LAMBDA_IMAGES
from disdel.protocol.calls import DEPLOYED, LIBRARY
from disdel.runtimes.registry import BASE_IMAGE
from disdel.runtimes.runtime import Runtime

# What actions import beside a framework.
IMPORTED = ("cryptography", "dacite", "numpy", "packaging", "redis", "safetensors")
TARGETS: dict[str, Target] = {**HTTP, "lambda": LAMBDA_IMAGES}
_ROOT = Path(__file__).parents[3]


def export(platform: str, folder: Path, runtime: Runtime, limits: Limits | None) -> list[Path]:
    """Write the folder, and say which files are in it.

    Args:
        platform: what it is for, one of `TARGETS`.
        folder: a new or an empty one, or one that was written before for it.
        runtime: what train actions compute with there.
        limits: of an instance; None for the ordinary ones.

    Raises:
        UsageError: there is something else in it, it cannot be written, a package is missing, or
            the platform is told otherwise what is asked for.
    """
    target = TARGETS[platform]
    if limits is not None and not target.has_limits:
        raise UsageError(
            f"--memory, --timeout and --instances say nothing to {platform}: there each run asks "
            "for what its plan needs; leave them out"
        )
    if target.has_image and not runtime.image:
        raise UsageError(
            f"{runtime.name} actions need no image on {platform}: nothing is exported for them, "
            f"and `disdel train --platform {platform} --runtime {runtime.name}` runs them"
        )
    packages, framework = _pinned(runtime)
    content = Content(
        limits=limits or ORDINARY,
        python=own_python(),
        packages=packages,
        framework=framework,
        runtime=runtime.name,
        base_image=BASE_IMAGE,
        image=runtime.image,
        environment=runtime.environment,
    )
    files = exported(
        platform,
        target,
        content,
        library=library(),
        entry={path: (_ROOT / path).read_bytes() for path in ENTRY},
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


def _pinned(runtime: Runtime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What its actions import, in the versions that are installed here; and its framework."""
    versions = {name: _version(name) for name in IMPORTED}
    if runtime.compiles:
        # Those that its actions carry elsewhere: on other versions a network has other bits.
        carried = dict(pin.split("==") for pin in pins(stock_python(())))
        return _requirements(versions | carried), ()
    framework = [name for name in runtime.packages if _version(name)] or runtime.packages[:1]
    # A build for CPUs lies on an index of its own.
    own = {name: _version(name).partition("+")[0] for name in framework}
    return _requirements(versions), _requirements(own)


def _requirements(versions: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}=={version}" if version else name for name, version in versions.items())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
