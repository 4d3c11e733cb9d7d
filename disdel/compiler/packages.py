"""The packages of a compiled action, as a zip that runs on a platform's own Python.

They have the versions that are installed here, so that an action's IREE executes what this host's
IREE has compiled. For a machine and a Python like this one they are the installed files, for others
those that pip downloads; for the same versions the zip is the same, byte for byte. Those for
several machines lie side by side: extension modules have the machine in their names. What no action
needs is left out: tests, type stubs, headers, tools, a second runtime with tracing, numpy's BLAS,
and the parts of numpy that it imports only when they are asked for. Sources are in it as bytecode,
unless there is no Python of that version here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import platform
import re
import sys
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from disdel.compiler.blas import without_blas
from disdel.compiler.bytecode import compiled, python_for
from disdel.compiler.wheels import downloaded
from disdel.errors import UsageError
from disdel.host import environment
from disdel.host.home import make_own
from disdel.protocol.calls import PACKAGES, library_digest
from openwhisk_local.machine.scratch import Scratch

# What the worker side of disdel imports, and what that imports.
DISTRIBUTIONS = ("async-timeout", "dacite", "iree-base-runtime", "ml_dtypes", "numpy", "redis")

# The versions of OpenWhisk's own Python that the library and its packages run on, the best first.
STOCK_PYTHONS = ("3.11", "3.10")
# The last numpy that the tests run on them.
_LAST_NUMPY = {"3.11": "2.4.6", "3.10": "2.2.6"}

# Of what is kept; raised when other files go into it.
_FORMAT = 8
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
# A tenth larger than by default, in a third of the time.
_DEFLATE_LEVEL = 2

# Behind what the library's own says. On another machine numpy would be the first to break, and not
# say why.
_BESIDE_PACKAGES = """
# numpy multiplies no matrices here: that ends the process.
WITHOUT_BLAS = True

import platform

if platform.machine() not in {machines}:
    raise ImportError(
        f"this node is {{platform.machine()}}, and the packages of the action are for "
        "{named}: try --arch amd64,arm64, or --runtime tensorflow"
    )
"""

_KEPT = re.compile(r".*\.(py|so(\.[\d.]+)?)")
_LEFT_OUT = re.compile(
    r"(^|/)(tests?|testing|f2py|distutils|_pyinstaller|_runtime_libs_tracy|share|build|"
    r"array_interop_tests|_examples|iree_base_runtime\.libs)/|"
    r"^numpy/(ctypeslib|doc|fft|ma|polynomial)/|^numpy/_core/_simd\.|"
    r"(^|/)conftest\.py$|(^|/)_[a-z_]*tests[.-]"
)


def own_python() -> str:
    """The version of the Python that runs here, as `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def stock_python(kinds: Collection[str]) -> str:
    """The version of Python that actions of a platform with these kinds run on.

    Raises:
        UsageError: none of the kinds is a Python that the library runs on.
    """
    # A platform that does not tell has what OpenWhisk comes with.
    found = [version for version in STOCK_PYTHONS if not kinds or kind_of(version) in kinds]
    if not found:
        theirs = ", ".join(sorted(kind for kind in kinds if kind.startswith("python"))) or "none"
        raise UsageError(
            f"compiled actions run on {' or '.join(map(kind_of, STOCK_PYTHONS))}, and the "
            f"platform's kinds of Python are {theirs}: add one to its runtimes.json, or train with "
            "--runtime tensorflow"
        )
    return found[0]


def kind_of(python: str) -> str:
    """OpenWhisk's kind of actions on a version of Python."""
    return f"python:{python}"


def packages_zip(
    library: Mapping[str, bytes], python: str, machines: Sequence[str] | None
) -> bytes:
    """The zip with the sources in `library` beside the packages; it is kept in the state directory.

    Args:
        library: what imports the packages, by path.
        python: the version that it is for.
        machines: what `platform.machine` gives on those that it is for, with Linux; None for this
            one, whatever it is.

    Raises:
        UsageError: a package is missing or cannot be had.
    """
    compiler = python_for(python)
    digest = _digest(library, python, machines, compiler)
    kept = environment.state_dir() / "compiled" / f"packages-{digest}.zip"
    if kept.exists():
        return kept.read_bytes()
    data = _build(library, python, machines, compiler)
    make_own(kept.parent)
    with Scratch(".packages-", kept.parent) as scratch:
        (scratch / kept.name).write_bytes(data)
        (scratch / kept.name).replace(kept)
    return data


def facts_zip(library: Mapping[str, bytes], python: str, machines: Sequence[str] | None) -> bytes:
    """A zip that says what `packages_zip` would carry, for a platform that has it already.

    The arguments are those of `packages_zip`.

    Raises:
        UsageError: a package is missing here.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        facts = _facts(library, python, machines, folders=())
        archive.writestr(zipfile.ZipInfo(PACKAGES, _TIMESTAMP), facts, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _facts(
    library: Mapping[str, bytes],
    python: str,
    machines: Sequence[str] | None,
    folders: Collection[str],
) -> bytes:
    """What a zip says of the packages beside the library, which lie in `folders`."""
    facts = {
        "versions": dict(pin.split("==") for pin in pins(python)),
        "machines": [machine.lower() for machine in machines or [platform.machine()]],
        "folders": sorted(folders),
        "library": library_digest(library.items()),
    }
    return json.dumps(facts).encode()


def _digest(
    library: Mapping[str, bytes], python: str, machines: Sequence[str] | None, compiler: str | None
) -> str:
    facts = [_FORMAT, python, compiler is None, machines, *pins(python)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for path in sorted(library):
        digest.update(f"{path} {len(library[path])} ".encode() + library[path])
    return digest.hexdigest()[:16]


def pins(python: str) -> list[str]:
    """The packages for a version of Python, each as `numpy==2.4.6`.

    Raises:
        UsageError: one is missing here.
    """
    versions = {name: _version(name) for name in DISTRIBUTIONS}
    if python != own_python():
        # The one that is installed here may have none for an older Python.
        versions["numpy"] = min(versions["numpy"], _LAST_NUMPY[python], key=Version)
    return [f"{name}=={version}" for name, version in versions.items()]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(
            f"--runtime compiled needs {name} here: pip install 'disdel[compiled]'"
        ) from error


def _installed() -> dict[str, bytes]:
    found = {}
    for name in DISTRIBUTIONS:
        for file in importlib.metadata.distribution(name).files or ():
            if _is_needed(file.as_posix()):
                found[file.as_posix()] = Path(str(file.locate())).read_bytes()
    return found


def _is_needed(path: str) -> bool:
    return (
        _KEPT.fullmatch(path) is not None
        and not _LEFT_OUT.search(path)
        and not {"..", "__pycache__"} & set(path.split("/"))
    )


def _packages(python: str, machine: str | None) -> dict[str, bytes]:
    """The files that actions need on a machine with Linux, or on this one, by their path."""
    here = (platform.machine(), sys.platform)
    if python == own_python() and (machine is None or (machine, "linux") == here):
        return without_blas(_installed())
    wheels = downloaded(pins(python), python=python, machine=machine or platform.machine())
    return without_blas({path: data for path, data in wheels.items() if _is_needed(path)})


def _build(
    library: Mapping[str, bytes], python: str, machines: Sequence[str] | None, compiler: str | None
) -> bytes:
    members: dict[str, bytes] = {}
    wanted: Sequence[str | None] = machines or [None]
    for machine in wanted:
        # What is not for one machine alone is the same in all.
        members = _packages(python, machine) | members
    named = machines or [platform.machine()]
    facts = _facts(library, python, machines, {path.partition("/")[0] for path in members})
    checks = _BESIDE_PACKAGES.format(machines=tuple(named), named=", ".join(named))
    members |= library
    members["disdel/__init__.py"] = library.get("disdel/__init__.py", b"") + checks.encode()
    members[PACKAGES] = facts
    sources = {path: data for path, data in members.items() if path.endswith(".py")}
    if compiler is not None:
        members = {path: members[path] for path in members.keys() - sources.keys()}
        members |= compiled(sources, compiler)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(members):
            entry = zipfile.ZipInfo(path, _TIMESTAMP)
            archive.writestr(entry, members[path], zipfile.ZIP_DEFLATED, _DEFLATE_LEVEL)
    return buffer.getvalue()
