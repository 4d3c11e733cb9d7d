"""The trainer of compiled networks: what every trainer does, and against TensorFlow's results."""

import subprocess
import sys

import numpy as np
import pytest

from disdel.errors import StoreError, UsageError
from disdel.models import built_in
from disdel.protocol.program import CompileTarget, Program
from disdel.runtimes.base import split_state
from disdel.types import CallMemory
from disdel.types.units import MIB
from tests.support.compiled import BATCH, SPEC

pytestmark = pytest.mark.framework


def trainer(program):
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    return CompiledTrainer(program, seed=0, learning_rate=0.01, threads=1)


@pytest.fixture
def block():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, BATCH, 8, 8, 1), np.uint8)
    return x, rng.integers(0, 4, (6, BATCH)).astype(np.int32)


def test_steps_and_scores_are_those_of_tensorflow(program, block):
    """A ragged batch too; the tolerance is that of sums in another order, over seven steps."""
    from disdel.models.builtin.keras_models import build_keras_model
    from disdel.runtimes.keras.trainer import KerasTrainer

    mine = trainer(program)
    model = build_keras_model(SPEC)
    theirs = KerasTrainer(model, optimizer="adam", learning_rate=0.01, input_dtype="uint8")
    begun = zip(theirs.state().items(), mine.state().values(), strict=True)
    theirs.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
    x, y = block
    for samples, labels in ((x, y), (x[:1, :5], y[:1, :5])):
        assert mine.train(samples, labels) == pytest.approx(theirs.train(samples, labels), rel=1e-4)
    for found, wanted in zip(mine.state().values(), theirs.state().values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-5)
    held_out = x.reshape(-1, *x.shape[2:]), y.reshape(-1)
    found, wanted = mine.score(*held_out), theirs.score(*held_out)
    assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-4)
    assert found.correct == wanted.correct
    # A learning rate for each step, and the next block without has the first one again.
    factors = np.array([0.5, 0.0, 2.0, 1.0, 0.1, 1.0], np.float32)[: len(x)]
    for rates in (factors, None):
        loss = mine.train(x, y, rate_factors=rates)
        assert loss == pytest.approx(theirs.train(x, y, rate_factors=rates), rel=1e-3)


def test_a_state_without_the_optimizer_starts_it_anew(program, block):
    used = trainer(program)
    fresh = {name: value.copy() for name, value in used.state().items()}
    used.train(*block)
    used.load_state(split_state(fresh)[0])
    for name, value in used.state().items():
        np.testing.assert_array_equal(value, fresh[name])


def test_a_state_carries_everything_that_decides_the_next_step(program, block):
    x, y = block
    whole = trainer(program)
    whole.train(x, y)
    first = trainer(program)
    first.train(x[:3], y[:3])
    second = trainer(program)
    second.load_state(first.state())
    second.train(x[3:], y[3:])
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, second.state()[name])


def test_a_state_keeps_shapes_and_dtypes_scalars_too(program, block):
    mine = trainer(program)
    mine.train(*block)
    for tensor in Program.read(program).state:
        value = mine.state()[tensor.name]
        assert (value.shape, value.dtype.name) == (tensor.shape, tensor.dtype)
    assert any(value.shape == () for value in mine.state().values())


def test_a_state_is_loaded_into_memory_that_is_kept_until_something_is_scored(program, block):
    one = trainer(program)
    state, device = one.state(), one._device

    def freed_bytes():
        return device.allocator.statistics["device_bytes_freed"]

    before = freed_bytes()
    for _ in range(3):
        one.load_state(state)
        one.train(*block)
    assert freed_bytes() == before
    one.score(block[0][0], block[1][0])
    assert freed_bytes() > before


def test_a_state_of_another_network_is_refused(program):
    mine = trainer(program)
    state = mine.state()
    name, value = next((n, v) for n, v in state.items() if v.ndim)
    with pytest.raises(StoreError, match="another network"):
        mine.load_state({n: v for n, v in state.items() if n != name})
    with pytest.raises(StoreError, match="is stored as"):
        mine.load_state({**state, name: value[:1]})


CALL = """
import sys
from pathlib import Path

import numpy as np
from disdel.runtimes.compiled.trainer import CompiledTrainer

def status_kb(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

trainer = CompiledTrainer(Path(sys.argv[1]), seed=0, threads=2)
call, batch = {"train": (trainer.train, (1, 128)), "score": (trainer.score, (128,))}[sys.argv[2]]
trainer.load_state(trainer.state())
x, y = np.ones((*batch, 28, 28, 1), np.uint8), np.zeros(batch, np.int32)
Path("/proc/self/clear_refs").write_text("5")
before = status_kb("VmRSS")
call(x, y)
print(1024 * (status_kb("VmHWM") - before))
"""


def test_a_call_takes_the_memory_that_the_compiler_says(
    compiled_state_dir,
    monkeypatch,
):
    from disdel.compiler import CompileJob, compile_program, known_program

    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    job = CompileJob(
        model=built_in("cnn2", input_shape=(28, 28, 1), classes=10),
        input_dtype="uint8",
        batch_size=128,
        optimizer="sgd",
        targets=("host",),
    )
    assert known_program(job) is None
    folder = compile_program(job)
    said = known_program(job).memory

    def taken(call):
        # In a process of its own: a smaller call finds its room in what a larger has left.
        command = [sys.executable, "-c", CALL, str(folder), call]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    trained, scored = taken("train"), taken("score")
    # Results, arguments and code besides; not every page of it is touched.
    assert 0.95 * said.train_bytes < trained < said.train_bytes + 8 * MIB
    assert 0.5 * said.score_bytes < scored < said.score_bytes + 8 * MIB


def test_batches_larger_than_the_compiled_are_refused(program, block):
    x, y = (np.concatenate([part, part], axis=1) for part in block)
    with pytest.raises(UsageError, match="compiled for batches of 16, not 32"):
        trainer(program).train(x, y)


def test_the_saved_state_becomes_a_keras_file(program, block, tmp_path):
    import keras

    from disdel.compiler.keras_file import TEMPLATE, filled

    mine = trainer(program)
    mine.train(*block)
    mine.save_model(tmp_path / "state.npz")
    state = dict(np.load(tmp_path / "state.npz"))
    assert state.keys() == mine.state().keys()
    (tmp_path / "model.keras").write_bytes(filled(program / TEMPLATE, state))
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    x, y = (part.reshape(-1, *part.shape[2:]) for part in block)
    chosen = np.asarray(model(x.astype(np.float32))).argmax(axis=1)
    assert (chosen == y).sum() == mine.score(x, y).correct
    del state[next(name for name in state if name.startswith("model/"))]
    with pytest.raises(StoreError, match="another network"):
        filled(program / TEMPLATE, state)


def made_for(*targets):
    return Program(
        input_shape=(1,),
        input_dtype="uint8",
        batch_size=1,
        score_batch=1,
        state=(),
        model_tensors=0,
        trained=(),
        adds_terms=False,
        draws=False,
        classifies=True,
        metrics=(),
        memory=CallMemory(train_bytes=1, score_bytes=1),
        targets=targets,
    )


def test_the_fastest_modules_that_a_machine_executes_are_taken():
    pytest.importorskip("iree.runtime")
    from disdel.runtimes.compiled.trainer import choose_target

    made = made_for(
        CompileTarget(name="new", machine="x86_64", cpu_flags=("a", "b")),
        CompileTarget(name="old", machine="x86_64", cpu_flags=("a",)),
        CompileTarget(name="arm", machine="aarch64", cpu_flags=("n",)),
    )
    assert choose_target(made, "x86_64", frozenset("abc")).name == "new"
    assert choose_target(made, "x86_64", frozenset("acn")).name == "old"
    assert choose_target(made, "aarch64", frozenset("abn")).name == "arm"


@pytest.mark.parametrize(
    ("machine", "flags", "said"),
    [
        ("x86_64", "sse4_2", r"this CPU lacks .*ssse3, which modules for x86-64-v2 use"),
        ("riscv64", "", r"this machine is riscv64, .* compiled for x86_64, aarch64: train with"),
    ],
)
def test_a_machine_that_executes_none_is_told_before_it_tries(machine, flags, said):
    pytest.importorskip("iree.runtime")
    from disdel.compiler.targets import PORTABLE, target
    from disdel.runtimes.compiled.trainer import choose_target

    with pytest.raises(UsageError, match=said):
        choose_target(made_for(*map(target, PORTABLE)), machine, frozenset(flags.split()))
