"""Packages for another Python or machine than those here, from the index that pip knows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from disdel.errors import UsageError

# The oldest systems that packages are built for; pip takes what any of them runs.
_SYSTEMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def downloaded(pins: Iterable[str], *, python: str, machine: str) -> dict[str, bytes]:
    """The files in the wheels of packages, by their path once installed.

    Args:
        pins: as `numpy==2.4.6`; what they depend on is not looked at.
        python: the version, as `3.11`.
        machine: `x86_64` or `aarch64`.

    Raises:
        UsageError: pip or the index is not there, or has no such wheel.
    """
    with tempfile.TemporaryDirectory(prefix="disdel-wheels-") as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={folder}"),
            f"--python-version={python}",
            *(f"--platform={system}_{machine}" for system in _SYSTEMS),
        ]
        done = subprocess.run([*command, *pins], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise UsageError(
                f"pip did not get the packages of a compiled action for Python {python} on "
                f"{machine} ({said}): set pip up for a package index that has them, or run disdel "
                f"on Linux on {machine} with Python {python}, whose own packages are taken"
            )
        found: dict[str, bytes] = {}
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                found |= {name: archive.read(name) for name in archive.namelist()}
    return found
