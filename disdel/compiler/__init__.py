"""Networks compiled on the host, so that actions train them without a framework.

The compiler runs in a process of its own, with Keras on JAX: whatever backend the user's process
has stays as it is, and the memory goes back to the system. Nothing here imports a framework.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import dacite

from disdel.compiler.starting import begun_compiler, start_compiler
from disdel.errors import DisdelError, UsageError
from disdel.host import environment
from disdel.protocol.program import Program, cpu_flags
from disdel.types import ModelSpec
from disdel.user_code.collecting import UserCode

PACKAGES = ("keras", "jax", "jaxlib", "iree-base-compiler", "iree-base-runtime")

# Of this package's output; raised when the lowering or the flags change.
COMPILER_VERSION = 14


class CompileFailed(DisdelError):
    """The compiler did not accept a network, or broke."""

    kind = "compile"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileJob:
    """A network to compile.

    `targets` are names of `disdel.compiler.targets`, the fastest first. `optimizer` is None for the
    one beside the user's own network. Seed and learning rate are not of it: the state has them.
    With `adds_terms`, a training step adds what a strategy wants to its gradients.
    """

    model: ModelSpec
    input_dtype: str
    batch_size: int
    optimizer: str | None
    targets: tuple[str, ...]
    adds_terms: bool = False


def compile_program(job: CompileJob, code: UserCode | None = None) -> Path:
    """The folder of the program for `job`: compiled now, or by an earlier run.

    Args:
        job: what is compiled.
        code: the files of the user's own network.

    Raises:
        UsageError: packages are missing, or the network cannot be compiled.
        CompileFailed: the compiler refused the module; the message says where its text is.
    """
    folder = _folder(job)
    if _program(folder) is None:
        if folder.exists() and _program(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # It is damaged.
        _call(folder, job, code)
    elif (begun := begun_compiler()) is not None:
        begun.close()
    return folder


def known_program(job: CompileJob) -> Program | None:
    """What the compiled network is and takes; None where it was not compiled yet.

    Raises:
        UsageError: packages are missing.
    """
    return _program(_folder(job))


def _program(folder: Path) -> Program | None:
    """What is in a folder; None where there is nothing, or nothing that can be read."""
    try:
        return Program.read(folder)
    except (OSError, ValueError, TypeError, dacite.DaciteError):
        return None


def _folder(job: CompileJob) -> Path:
    return environment.state_dir() / "compiled" / _digest(job)


def _digest(job: CompileJob) -> str:
    """The same for the same modules: of the network, the compiler and, if tuned for it, the CPU."""
    facts = {
        **asdict(job),
        "versions": [COMPILER_VERSION, *_versions()],
        "cpu": sorted(cpu_flags()) if "host" in job.targets else platform.machine(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _versions() -> list[str]:
    try:
        packages = [importlib.metadata.version(package) for package in (*PACKAGES, "numpy")]
        return [platform.python_version(), *packages]
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(
            f"--runtime compiled needs {error.name} here: pip install 'disdel[compiled]'"
        ) from error


def _call(folder: Path, job: CompileJob, code: UserCode | None) -> None:
    said = json.dumps({"folder": str(folder.resolve()), "job": asdict(job)})
    if code is None:
        with begun_compiler() or start_compiler() as compiler:
            done = compiler.ended(said)
    else:
        with tempfile.TemporaryDirectory(prefix="disdel-code-") as own:
            code.write(Path(own))
            with start_compiler(Path(own)) as compiler:
                done = compiler.ended(said)
    if done.status == UsageError.exit_code and done.stdout:
        raise UsageError(done.stdout.strip())
    if done.stopped is not None:
        raise UsageError(done.why("compiling the network"))
    if done.status:
        said = done.stdout.strip() or "\n".join(done.stderr.splitlines()[-20:])
        raise CompileFailed(f"the network was not compiled: {said or done.why('the compiler')}")
