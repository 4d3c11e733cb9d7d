"""The compiler's process: `python -m disdel.compiler [CODE]`.

CODE is the folder of the user's own code, where the network is of that. What is to be compiled, and
the folder for it, is read from stdin, as JSON; meanwhile the compiler of a built-in network imports
what it needs.

What goes wrong for the user's doing is said in one line on stdout, with exit status 2.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import dacite

from disdel.compiler import CompileFailed, CompileJob
from disdel.compiler.keras_file import TEMPLATE, write_template
from disdel.compiler.targets import HOST, compile_flags, has_wide_vectors, target
from disdel.errors import DisdelError
from disdel.host.home import make_own
from disdel.protocol.program import CompileTarget, Program, module_path
from disdel.types import CallMemory
from disdel.user_code.module import end_process
from openwhisk_local.machine.allocator import collect_rarely
from openwhisk_local.machine.scratch import Scratch, sweep

if TYPE_CHECKING:
    # It imports Keras.
    from disdel.compiler.network import LoweredNetwork

_MAKING = ".making-"
# Large enough to keep the cores busy, small enough that a convolution's patches stay in the caches.
SCORE_BATCH = 32

# Keras imports what it finds of these, and nothing here uses it: docs/compiled.md has the seconds.
_UNUSED = ("matplotlib", "requests", "sklearn", "tensorflow", "torch")
# The user's own code may use others, but on JAX no other framework.
_UNUSED_BY_OWN = ("tensorflow", "torch")


def main() -> int:
    collect_rarely()
    code = [Path(argument) for argument in sys.argv[1:]]
    hide(_UNUSED_BY_OWN if code else _UNUSED)
    if not code:
        # What the user's own network imports may need its files first.
        import disdel.compiler.steps  # noqa: F401
    asked = json.load(sys.stdin)
    folder = Path(asked["folder"])
    job = dacite.from_dict(CompileJob, asked["job"], dacite.Config(cast=[tuple]))
    try:
        # What the user's code prints is no answer of this process.
        with contextlib.redirect_stdout(sys.stderr):
            write_program(_network(job, *code), job, folder)
    except DisdelError as error:
        print(error)  # noqa: T201
        return error.exit_code
    return 0


def _network(job: CompileJob, code: Path | None = None) -> LoweredNetwork:
    if job.model.code is not None:
        from disdel.compiler.own import own_network

        assert code is not None
        return own_network(job, job.model.code, code)
    from disdel.compiler.network import built_in_network

    return built_in_network(job)


def write_program(network: LoweredNetwork, job: CompileJob, folder: Path) -> None:
    """Write the program of a network into a folder of its own, and move it where it belongs.

    Args:
        network: what `job` says.
        job: how it is compiled.
        folder: the program's.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
        CompileFailed: the compiler refused a module; its text is beside `folder`.
    """
    from disdel.compiler.steps import Steps
    from disdel.compiler.trial import steps_of

    steps = Steps(network, input_dtype=job.input_dtype, adds_terms=job.adds_terms)
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
        for function, text_of, batch in (
            ("train", steps.train_text, job.batch_size),
            ("score", steps.score_text, SCORE_BATCH),
        ):
            texts = {
                wide: text_of(batch, wide=wide) for wide in set(map(has_wide_vectors, targets))
            }
            for cpu in targets:
                text = texts[has_wide_vectors(cpu)]
                kept = folder.parent / f"{folder.name}-{function}-{cpu.name}.mlir"
                compiling = compilers.submit(_compiled, text, compile_flags(cpu), kept)
                modules.append((function, cpu, compiling))
        write_template(network.saved, made / TEMPLATE)
        most_bytes = {"train": 0, "score": 0}
        for function, cpu, compiling in modules:
            module = compiling.result()
            module_path(made, function, cpu).write_bytes(module.code)
            most_bytes[function] = max(most_bytes[function], module.call_bytes)
        program = Program(
            input_shape=job.model.input_shape,
            input_dtype=job.input_dtype,
            batch_size=job.batch_size,
            score_batch=SCORE_BATCH,
            state=steps.tensors,
            model_tensors=steps.model_tensors,
            trained=steps.trained,
            frozen=steps.frozen,
            adds_terms=job.adds_terms,
            draws=steps.draws,
            moves=steps.moves,
            classifies=network.recipe.target != "number",
            metrics=tuple(network.recipe.metrics),
            memory=CallMemory(train_bytes=most_bytes["train"], score_bytes=most_bytes["score"]),
            targets=targets,
        )
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
