"""Python sources as the bytecode of one Python version, so that no container compiles them.

A container that imports numpy and the rest from source compiles for a third of a second at every
cold start. Bytecode stands in the place of its source (`module.pyc` beside no `module.py`), where
Python imports it without looking for one.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

# Reads a zip of sources from stdin and writes one of bytecode to stdout. Standard library only: it
# runs on any Python of the version that is asked for.
_COMPILE = """
import importlib.util, io, marshal, sys, zipfile
unchecked = (1).to_bytes(4, "little")
with zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())) as sources:
    with zipfile.ZipFile(sys.stdout.buffer, "w") as made:
        for name in sources.namelist():
            source = sources.read(name)
            code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
            head = importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source)
            made.writestr(name + "c", head + code)
"""


def python_for(version: str) -> str | None:
    """A Python of a version as `3.11`: this one, one on the path, or one of pyenv's; else None."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    # Path's own method fails where there is no home folder.
    pyenv = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))  # noqa: PTH111
    of_pyenv = pyenv.glob(f"versions/{version}.*/bin/python{version}")
    # On the path pyenv has stand-ins, which end with an error unless they are switched on.
    for found in (shutil.which(f"python{version}"), *map(str, sorted(of_pyenv))):
        if found and _starts(found):
            return found
    return None


def _starts(python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-S", "-c", ""], capture_output=True, check=False, env=_environ()
        )
    except OSError:  # of another machine
        return False
    return done.returncode == 0


def _environ() -> dict[str, str]:
    # The order of a set in the bytecode is that of its hashes.
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0"}


def compiled(sources: Mapping[str, bytes], python: str) -> dict[str, bytes]:
    """The bytecode of `sources`, by their paths with a `c` at the end.

    It is the same, byte for byte, for the same sources and the same Python.

    Args:
        sources: Python files by path.
        python: the Python that compiles them.

    Raises:
        subprocess.CalledProcessError: it refuses one of them.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(sources):
            archive.writestr(name, sources[name])
    done = subprocess.run(
        [python, "-S", "-c", _COMPILE],
        input=buffer.getvalue(),
        capture_output=True,
        check=True,
        env=_environ(),
    )
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
