"""The compiler's front: what is kept, and what goes wrong."""

import importlib.metadata
import itertools
import subprocess
import sys
from dataclasses import replace

import pytest

from disdel.compiler import CompileFailed, CompileJob, _digest, compile_program
from disdel.compiler.bytecode import compiled, python_for
from disdel.compiler.targets import PORTABLE, compile_flags, portable, target
from disdel.errors import UsageError
from disdel.models import built_in
from disdel.protocol.program import Initial, Program, StateTensor
from disdel.types import CallMemory, CodeRef, ModelFacts

JOB = CompileJob(
    model=built_in("mlp", input_shape=(4,), input_dtype="float32", classes=2),
    input_dtype="float32",
    batch_size=8,
    optimizer="adam",
    targets=PORTABLE,
)
FACTS = ModelFacts(parameters=9, activations=9, outputs=9, largest=4, layers=1, multiply_adds=9)


def written(folder):
    """A program's description, and the same in a folder."""
    program = Program(
        input_shape=(28, 28, 1),
        input_dtype="uint8",
        batch_size=64,
        score_batch=128,
        state=(
            StateTensor(
                name="step", shape=(), dtype="int32", initial=Initial(kind="constant", center=3)
            ),
        ),
        model_tensors=0,
        trained=(),
        adds_terms=False,
        draws=True,
        classifies=True,
        metrics=("mean_absolute_error",),
        memory=CallMemory(train_bytes=1, score_bytes=1),
        targets=tuple(target(name) for name in PORTABLE),
    )
    program.write(folder)
    return program


def test_a_description_is_read_as_it_was_written(tmp_path):
    assert written(tmp_path) == Program.read(tmp_path)


def test_levels_are_ordered_from_the_fastest():
    pairs = list(itertools.pairwise(map(target, PORTABLE)))
    alike = [(one, other) for one, other in pairs if one.machine == other.machine]
    assert alike
    assert all(set(fast.cpu_flags) > set(slow.cpu_flags) for fast, slow in alike)


def test_of_each_architecture_all_levels_are_compiled():
    assert portable(["amd64"]) == ("x86-64-v4", "x86-64-v3", "x86-64-v2")
    assert portable(["arm64"]) == ("arm64",)
    assert portable(["arm64", "amd64"]) == portable(["amd64", "arm64"]) == PORTABLE


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UsageError, match=r"--arch: .* run on amd64, arm64, and not on 's390x'"):
        portable(["amd64", "s390x"])


def test_an_unknown_cpu_is_refused():
    with pytest.raises(UsageError, match="unknown CPU 'z80'; known: host, x86-64-v4"):
        target("z80")


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UsageError, match=r"needs keras here: pip install 'disdel\[compiled\]'"):
        compile_program(JOB)


def test_other_code_is_another_program():
    def digest(text):
        code = CodeRef(entry="n.py:f", source="n.py", function="f", requirements=(), digest=text)
        return _digest(replace(JOB, model=replace(JOB.model, code=code, home="tensorflow")))

    assert digest("one") == digest("one") != digest("other")


TEXT = b"""
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.add %x, %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
"""
# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html: e_machine
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@pytest.mark.framework
@pytest.mark.parametrize("name", PORTABLE)
def test_a_module_is_for_its_target_s_machine(name, tmp_path):
    """By the header of the library within: two bytes at 18, little-endian."""
    pytest.importorskip("iree.compiler")
    from disdel.compiler.__main__ import _compiled

    module = _compiled(TEXT, compile_flags(target(name)), tmp_path / "kept.mlir")
    library = module.code[module.code.index(b"\x7fELF") :]
    assert int.from_bytes(library[18:20], "little") == ELF_MACHINES[target(name).machine]


@pytest.mark.framework
def test_a_module_that_is_refused_is_kept(tmp_path):
    pytest.importorskip("iree.compiler")
    from disdel.compiler.__main__ import _compiled

    kept = tmp_path / "train.mlir"
    with pytest.raises(CompileFailed, match=r"text is in .*train\.mlir: .*error:"):
        _compiled(b"this is no module", compile_flags(target("x86-64-v3")), kept)
    assert kept.read_bytes() == b"this is no module"


def test_a_python_is_looked_for_on_the_path_and_among_those_of_pyenv(tmp_path, monkeypatch):
    kept = tmp_path / "versions" / "3.9.7" / "bin" / "python3.9"
    stand_in = tmp_path / "shims" / "python3.9"
    for path, status in ((kept, 0), (stand_in, 127)):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(stand_in.parent))
    assert python_for("3.9") == str(kept)
    monkeypatch.setenv("PATH", str(kept.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert python_for("3.9") == str(kept)
    monkeypatch.setenv("PATH", str(stand_in.parent))
    assert python_for("3.9") is None


def test_bytecode_is_the_same_for_the_same_sources_and_runs_without_them(tmp_path):
    sources = {
        "lib/__init__.py": b"KNOWN = {'a', 'b', 'c'}\n",
        "lib/more.py": b"from . import KNOWN",
    }
    python = python_for(f"{sys.version_info.major}.{sys.version_info.minor}")
    made = compiled(sources, python)
    assert made == compiled(sources, python)
    assert made.keys() == {"lib/__init__.pyc", "lib/more.pyc"}
    for name, data in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import lib.more as m; print(m.KNOWN)"
    )
    done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'a'" in done.stdout


def test_a_program_that_is_damaged_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    made = []

    def call(folder, job, code):
        made.append(job)
        folder.mkdir(parents=True)
        written(folder)

    monkeypatch.setattr("disdel.compiler._call", call)
    folder = compile_program(JOB, None)
    assert compile_program(JOB, None) == folder
    (folder / "program.json").write_bytes(b"\xff{half")
    compile_program(JOB, None)
    assert made == [JOB, JOB]


ENDING = """
import multiprocessing, os, sys
from disdel.compiler.__main__ import _status_of

def end():
    {ending}

process = multiprocessing.get_context("fork").Process(target=end)
process.start()
sys.exit(_status_of(process))
"""


@pytest.mark.parametrize(
    ("ending", "status"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", -9)]
)
def test_the_compiler_ends_as_the_process_that_has_keras(ending, status):
    command = [sys.executable, "-c", ENDING.format(ending=ending)]
    assert subprocess.run(command, check=False).returncode == status
