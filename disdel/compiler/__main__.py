"""The compiler's process: `python -m disdel.compiler FOLDER < job.json`.

What goes wrong for the user's doing is said in one line on stdout, with exit status 2.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dacite

from disdel.compiler import CompileFailed, CompileJob
from disdel.compiler.keras_file import TEMPLATE, write_template
from disdel.compiler.targets import compile_flags, target
from disdel.errors import DisdelError
from disdel.program import Program, module_path

# Keras has no types.
KerasModel = Any

# Large enough to keep the cores busy, small enough to need less memory than a training step.
SCORE_BATCH = 128

# Keras imports what it finds of these, and nothing here uses it: docs/compiled.md has the seconds.
_UNUSED = ("matplotlib", "requests", "sklearn", "tensorflow", "torch")


def main() -> int:
    [folder] = sys.argv[1:]
    job = dacite.from_dict(CompileJob, json.load(sys.stdin), dacite.Config(cast=[tuple]))
    try:
        _compile(job, Path(folder))
    except DisdelError as error:
        print(error)  # noqa: T201
        return error.exit_code
    return 0


def _model(job: CompileJob) -> KerasModel:
    from disdel.catalog.models.keras_models import keras_model_here

    return keras_model_here(job.model, input_dtype=job.input_dtype)


def _compile(job: CompileJob, folder: Path) -> None:
    from disdel.compiler.lowering import without_values

    with without_values():
        model = _model(job)
    write_program(model, job, folder)


def write_program(model: KerasModel, job: CompileJob, folder: Path) -> None:
    """Write the program of a Keras model into a folder of its own, and move it where it belongs.

    Args:
        model: what `job.model` says; values of its variables are not needed.
        job: how it is compiled.
        folder: the program's.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
        CompileFailed: the compiler refused a module; its text is beside `folder`.
    """
    from disdel.compiler.steps import Steps

    steps = Steps(model, optimizer=job.optimizer, input_dtype=job.input_dtype)
    program = Program(
        input_shape=job.model.input_shape,
        input_dtype=job.input_dtype,
        batch_size=job.batch_size,
        score_batch=SCORE_BATCH,
        state=steps.tensors,
        model_tensors=steps.model_tensors,
        draws=steps.draws,
        targets=tuple(target(name) for name in job.targets),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    modules: list[tuple[Path, Future[bytes]]] = []
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as name,
        # A compiler is a process, and uses one core.
        ThreadPoolExecutor(os.cpu_count()) as compilers,
    ):
        made = Path(name) / "program"
        made.mkdir()
        # The first is being compiled while the second is written.
        for function, text_of, batch in (
            ("train", steps.train_text, job.batch_size),
            ("score", steps.score_text, SCORE_BATCH),
        ):
            text, kept = text_of(batch), folder.parent / f"{folder.name}-{function}.mlir"
            for cpu in program.targets:
                compiling = compilers.submit(_compiled, text, compile_flags(cpu), kept)
                modules.append((module_path(made, function, cpu), compiling))
        write_template(model, made / TEMPLATE)
        for path, compiling in modules:
            path.write_bytes(compiling.result())
        program.write(made)
        if not folder.exists():
            made.rename(folder)


def _compiled(text: bytes, flags: list[str], kept: Path) -> bytes:
    """The module of a text.

    Raises:
        CompileFailed: the compiler refused it; the text is in `kept`.
    """
    import iree.compiler

    try:
        module = iree.compiler.compile_str(text, extra_args=flags)
    except iree.compiler.CompilerToolError as error:
        kept.write_bytes(text)
        first = next((line for line in str(error).splitlines() if "error:" in line), str(error))
        raise CompileFailed(
            f"IREE refused the module, whose text is in {kept}: {first.strip()}"
        ) from error
    assert module is not None
    return bytes(module)


class _Hiding:
    """A finder of modules for which `_UNUSED` are not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004
        if name.partition(".")[0] in _UNUSED:
            raise ModuleNotFoundError(f"{name} is hidden: nothing here uses it", name=name)


def hide_unused_packages() -> None:
    """Spare this process what Keras would import beside what it needs."""
    sys.meta_path.insert(0, _Hiding)


if __name__ == "__main__":
    hide_unused_packages()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    sys.exit(main())
