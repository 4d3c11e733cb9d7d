"""The compiler's process: `python -m disdel.compiler [CODE]`.

CODE is the folder of the user's own code, where the network is of that. What is to be compiled, and
the folder for it, is read from stdin, as JSON; meanwhile the compiler of a built-in network imports
what it needs.

A process of its own, forked off at once, has Keras and JAX. It ends when the network is lowered,
since IREE then takes memory of its own.

What goes wrong for the user's doing is said in one line on stdout, with exit status 2.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dacite

from disdel.compiler import CompileFailed, CompileJob
from disdel.compiler.keras_file import TEMPLATE
from disdel.compiler.parts import Lowered, Part, Text, parts_of
from disdel.compiler.targets import HOST, compile_flags, target
from disdel.errors import DisdelError
from disdel.host.home import make_own
from disdel.protocol.program import CompileTarget, module_path
from disdel.types import CallMemory
from disdel.user_code.module import end_process
from openwhisk_local.machine.allocator import collect_rarely
from openwhisk_local.machine.libraries import give_back_library_pages, load_library
from openwhisk_local.machine.scratch import Scratch, sweep

if TYPE_CHECKING:
    # It imports Keras.
    from disdel.compiler.network import LoweredNetwork

_MAKING = ".making-"

# Keras imports what it finds of these, and nothing here uses it: docs/compiled.md has the seconds.
_UNUSED = ("matplotlib", "requests", "sklearn", "tensorflow", "torch")
# The user's own code may use others, but on JAX no other framework.
_UNUSED_BY_OWN = ("tensorflow", "torch")


def main() -> int:
    collect_rarely()
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe()
    code = [Path(argument) for argument in sys.argv[1:]]
    lowering = forked.Process(target=_lower, args=(there, here, code))
    lowering.start()
    there.close()
    asked = json.load(sys.stdin)
    job = dacite.from_dict(CompileJob, asked["job"], dacite.Config(cast=[tuple]))
    try:
        here.send(job)
        write_program(_received(here), job, Path(asked["folder"]))
    except (EOFError, ConnectionError):
        # It has said why.
        return _status_of(lowering)
    except DisdelError as error:
        print(error)  # noqa: T201
        return error.exit_code
    return 0


def _lower(there: Connection, here: Connection, code: list[Path]) -> None:
    """The process that has Keras: it is sent a job, and sends the parts of its network."""
    here.close()
    hide(_UNUSED_BY_OWN if code else _UNUSED)
    load_library("jaxlib", "libjax_common.so")
    if not code:
        # What the user's own network imports may need its files first.
        import disdel.compiler.steps  # noqa: F401
    try:
        job = there.recv()
    except EOFError:
        end_process(0)  # Nothing is to be compiled.
    try:
        # What the user's code prints is no answer of this process.
        with contextlib.redirect_stdout(sys.stderr):
            for part in parts_of(_network(job, *code), job):
                there.send(part)
                # While it is compiled, what lowered it need not be there as well.
                give_back_library_pages()
    except DisdelError as error:
        print(error)  # noqa: T201
        end_process(error.exit_code)
    end_process(0)


def _received(here: Connection) -> Iterator[Part]:
    """What `_lower` sends.

    Raises:
        EOFError: it has ended before.
    """
    while True:
        part = here.recv()
        yield part
        if isinstance(part, Lowered):
            return


def _status_of(process: Any) -> int:
    """The exit status of a process that ends; where a signal ended it, this one ends likewise."""
    process.join()
    if process.exitcode < 0:
        with contextlib.suppress(OSError):  # What ends any process has no handler.
            signal.signal(-process.exitcode, signal.SIG_DFL)
        os.kill(os.getpid(), -process.exitcode)
    return int(process.exitcode)


def _network(job: CompileJob, code: Path | None = None) -> LoweredNetwork:
    if job.model.code is not None:
        from disdel.compiler.own import own_network

        assert code is not None
        return own_network(job, job.model.code, code)
    from disdel.compiler.network import built_in_network

    return built_in_network(job)


def write_program(parts: Iterable[Part], job: CompileJob, folder: Path) -> None:
    """Write the program of a network into a folder of its own, and move it where it belongs.

    Args:
        parts: of the network that `job` says.
        job: how it is compiled.
        folder: the program's.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
        CompileFailed: the compiler refused a module; its text is beside `folder`.
    """
    from disdel.compiler.trial import steps_of

    targets = tuple(target(name) for name in job.targets)
    make_own(folder.parent)
    sweep(_MAKING, folder.parent)
    modules: list[tuple[str, CompileTarget, Future[_Module]]] = []
    with (
        Scratch(_MAKING, folder.parent) as scratch,
        # A compiler is a process, and uses one core.
        ThreadPoolExecutor(os.cpu_count()) as compilers,
    ):
        made = scratch / "program"
        made.mkdir()
        # The first is being compiled while the second is written.
        for part in parts:
            if isinstance(part, Text):
                for cpu in targets:
                    kept = folder.parent / f"{folder.name}-{part.function}-{cpu.name}.mlir"
                    compiling = compilers.submit(_compiled, part.of(cpu), compile_flags(cpu), kept)
                    modules.append((part.function, cpu, compiling))
            else:
                program = part.program
                (made / TEMPLATE).write_bytes(part.template)
        most_bytes = {"train": 0, "score": 0}
        for function, cpu, compiling in modules:
            module = compiling.result()
            module_path(made, function, cpu).write_bytes(module.code)
            most_bytes[function] = max(most_bytes[function], module.call_bytes)
        memory = CallMemory(train_bytes=most_bytes["train"], score_bytes=most_bytes["score"])
        program = replace(program, memory=memory)
        program.write(made)
        if job.targets == HOST:
            replace(program, steps=steps_of(made)).write(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # Else another run has compiled the same meanwhile.
                raise


@dataclass(frozen=True, slots=True)
class _Module:
    """A compiled function, and what a call of it takes beside its arguments."""

    code: bytes
    call_bytes: int


def _compiled(text: bytes, flags: list[str], kept: Path) -> _Module:
    """The module of a text.

    Raises:
        CompileFailed: the compiler refused it; the text is in `kept`.
    """
    import iree.compiler

    with tempfile.NamedTemporaryFile("r", suffix=".json") as statistics:
        told = (
            "--iree-scheduling-dump-statistics-format=json",
            f"--iree-scheduling-dump-statistics-file={statistics.name}",
        )
        try:
            module = iree.compiler.compile_str(text, extra_args=[*flags, *told])
        except iree.compiler.CompilerToolError as error:
            kept.write_bytes(text)
            first = next((line for line in str(error).splitlines() if "error:" in line), str(error))
            raise CompileFailed(
                f"IREE refused the module, whose text is in {kept}: {first.strip()}"
            ) from error
        assert module is not None
        call = json.load(statistics)["stream-aggregate"]["execution"]
        return _Module(bytes(module), call["transient-memory-size"])


class _Hiding:
    """A finder of modules for which some packages are not installed."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        package = name.partition(".")[0]
        if package in self._packages:
            raise ImportError(f"{package} has no part in compiling a network", name=name)


def hide(packages: tuple[str, ...] = _UNUSED) -> None:
    """Spare this process what Keras would import beside what it needs."""
    sys.meta_path.insert(0, _Hiding(packages))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    end_process(main())
