"""The compiler's process: `python -m disdel.compiler FOLDER < job.json`.

What goes wrong for the user's doing is said in one line on stdout, with exit status 2.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import dacite
import safetensors.numpy

from disdel.compiler import CompileFailed, CompileJob
from disdel.compiler.keras_file import TEMPLATE, write_template
from disdel.compiler.targets import compile_flags, target
from disdel.errors import DisdelError
from disdel.program import INITIAL, Program, module_path

# Large enough to keep the cores busy, small enough to need less memory than a training step.
SCORE_BATCH = 128


def main() -> int:
    [folder] = sys.argv[1:]
    job = dacite.from_dict(CompileJob, json.load(sys.stdin), dacite.Config(cast=[tuple]))
    try:
        _compile(job, Path(folder))
    except DisdelError as error:
        print(error)  # noqa: T201
        return error.exit_code
    return 0


def _model(job: CompileJob) -> Any:
    import keras

    from disdel.catalog.models.keras_models import build_keras_model

    keras.utils.set_random_seed(job.seed)
    return build_keras_model(job.model, input_dtype=job.input_dtype)


def _compile(job: CompileJob, folder: Path) -> None:
    """Write the program into a folder of its own, and move it where it belongs."""
    from disdel.compiler.steps import Steps

    model = _model(job)
    steps = Steps(
        model,
        optimizer=job.optimizer,
        learning_rate=job.learning_rate,
        input_dtype=job.input_dtype,
    )
    program = Program(
        input_shape=job.model.input_shape,
        input_dtype=job.input_dtype,
        batch_size=job.batch_size,
        score_batch=SCORE_BATCH,
        state=steps.tensors(),
        model_tensors=steps.model_tensors,
        targets=tuple(target(name) for name in job.targets),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "program"
        made.mkdir()
        texts = {
            "train": steps.train_text(job.batch_size),
            "score": steps.score_text(SCORE_BATCH),
        }
        for function, text in texts.items():
            for cpu in program.targets:
                kept = folder.parent / f"{folder.name}-{function}.mlir"
                module_path(made, function, cpu).write_bytes(
                    _compiled(text, compile_flags(cpu), kept)
                )
        safetensors.numpy.save_file(steps.state(), made / INITIAL)
        write_template(model, made / TEMPLATE)
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


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    sys.exit(main())
