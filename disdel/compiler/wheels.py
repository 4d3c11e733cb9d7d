"""Packages for another Python or machine than those here, from the index that pip knows."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from disdel.errors import UsageError
from disdel.host.helper import Ended, run_helper

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
    pins = list(pins)
    with tempfile.TemporaryDirectory(prefix="disdel-wheels-") as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={folder}"),
            f"--python-version={python}",
            *(f"--platform={system}_{machine}" for system in _SYSTEMS),
        ]
        done = run_helper([*command, *pins], environ=os.environ, scratch=Path(folder))
        if done.status != 0:
            raise UsageError(
                f"pip did not get the packages of a compiled action for Python {python} on "
                f"{machine}: {_why(done)}, or run disdel on Linux on {machine} with Python "
                f"{python}, whose own packages are taken"
            )
        found: dict[str, bytes] = {}
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                found |= {name: archive.read(name) for name in archive.namelist()}
    return found


def _why(done: Ended) -> str:
    """What pip said, and what to do about it, without an end to the sentence."""
    if done.status is None or done.status < 0:
        return done.why("pip")
    # pip's configuration is for the packages of this Python, and these are for another.
    if "DO NOT MATCH THE HASHES" in done.stderr:
        return (
            "a package has another hash than its configuration asks for, as one that was tampered "
            "with has; look at the index and the constraints that `pip config list` names"
        )
    if "--require-hashes mode" in done.stderr:
        lines = re.findall(r"^ +(\S+==\S+) --hash", done.stderr, re.MULTILINE)
        named = f" of {', '.join(lines)}" if lines else ""
        return (
            f"its configuration asks for hashes and does not have those{named}; add them to the "
            "constraints that `pip config list` names, or leave both out for this command: "
            "PIP_CONSTRAINT=/dev/null PIP_REQUIRE_HASHES=0"
        )
    if "conflicting dependencies" in done.stderr:
        return (
            "the constraints that `pip config list` names hold other versions; leave them out for "
            "this command: PIP_CONSTRAINT=/dev/null"
        )
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"{said}; set pip up for a package index that has them"
