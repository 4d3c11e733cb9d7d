"""The action proxies: which files they are, and how containers run them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from openwhisk_local.containers import container_forks, container_mounts
from openwhisk_local.containers.images import Language
from openwhisk_local.machine import container_memory

_PACKAGE = Path(__file__).resolve().parent


def runtime_image() -> Path:
    """The folder of the image that disdel's actions run in, whose proxy runs here too.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    candidates = (_PACKAGE / "_runtime_image", _PACKAGE.parent / "runtime-image")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the action proxy is not installed: looked at {looked}")


def proxy_files() -> list[Path]:
    """The modules of the proxy for Python, as they lie in one folder in the image."""
    names = ("proxy.py", "proxy_code.py", "proxy_runner.py")
    return [*(runtime_image() / name for name in names), Path(container_memory.__file__)]


def lay_proxies(folder: Path) -> dict[Language, tuple[str, ...]]:
    """The commands of the action proxies.

    The one for Python is copied with the modules that it needs into a new folder, as in the image.
    """
    folder.mkdir()
    ours = (container_forks.__file__, container_mounts.__file__)
    for module in (*proxy_files(), *map(Path, ours)):
        shutil.copy(module, folder)
    proxy = str(folder / "proxy.py")
    mounts = str(folder / Path(container_mounts.__file__).name)
    node = str(_PACKAGE / "containers" / "node_proxy.js")
    return {
        "python": (sys.executable, proxy),
        "nodejs": (sys.executable, "-I", "-S", mounts, "node", "--expose-gc", node, proxy),
    }
