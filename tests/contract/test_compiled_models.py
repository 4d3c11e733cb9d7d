"""Compiled networks beside the same ones on TensorFlow: kinds of layers, optimizers, an epoch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from disdel.compiler.keras_file import TEMPLATE, filled
from disdel.runtimes.schedule import Schedule
from disdel.types import OPTIMIZERS
from tests.support.compiled_models import BATCH, SHAPE, build

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The program of a network of `tests.support.compiled_models`, compiled once."""
    pytest.importorskip("iree.compiler")
    made = {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.compiled_models"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    ) as compiler:

        def compiled(name, optimizer="adam"):
            if (name, optimizer) not in made:
                folder = tmp_path_factory.mktemp("programs") / "program"
                compiler.stdin.write(json.dumps([name, optimizer, str(folder)]) + "\n")
                compiler.stdin.flush()
                assert compiler.stdout.readline() == "written\n"
                made[name, optimizer] = folder
            return made[name, optimizer]

        yield compiled


def both(folder, name, optimizer="adam", learning_rate=None, seed=0):
    """The compiled trainer, and TensorFlow's from the same state."""
    from disdel.runtimes.compiled.trainer import CompiledTrainer
    from disdel.runtimes.keras.trainer import KerasTrainer

    mine = CompiledTrainer(folder, seed=seed, learning_rate=learning_rate, threads=1)
    theirs = KerasTrainer(
        build(name), optimizer=optimizer, learning_rate=learning_rate, input_dtype="uint8"
    )
    begun = zip(theirs.state().items(), mine.state().values(), strict=True)
    theirs.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
    return mine, theirs


def blocks(seed, steps=4):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 17, (steps, BATCH, *SHAPE), np.uint8)
    return x, rng.integers(0, 10, (steps, BATCH)).astype(np.int32)


def far(mine, theirs):
    """The largest difference between two trainers' variables of the model."""
    pairs = zip(mine.state().items(), theirs.state().values(), strict=True)
    return max(
        np.abs(found - wanted).max()
        for (name, found), wanted in pairs
        if name.startswith("model/") and found.dtype.kind == "f"
    )


@pytest.mark.parametrize("name", ["images", "sequences", "activations"])
def test_layers_do_what_tensorflow_does(compiled, name):
    """With sgd: adam divides by gradients that are rounding errors."""
    mine, theirs = both(compiled(name, "sgd"), name, "sgd", 0.05)
    for seed in (0, 1):
        x, y = blocks(seed)
        assert mine.train(x, y) == pytest.approx(theirs.train(x, y), rel=1e-4)
    assert far(mine, theirs) < 1e-4
    x, y = blocks(2)
    found, wanted = mine.score(x[0], y[0]), theirs.score(x[0], y[0])
    assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_do_what_tensorflow_s_do(compiled, optimizer):
    """At learning rates that change, and from the state of eight steps before."""
    mine, theirs = both(compiled("dense", optimizer), "dense", optimizer, 2e-3)
    factors = np.array([0.1, 1.0, 0.0, 0.5], np.float32)
    for seed, rates in ((0, factors), (1, None), (2, factors[::-1])):
        x, y = blocks(seed)
        found = mine.train(x, y, rate_factors=rates)
        assert found == pytest.approx(theirs.train(x, y, rate_factors=rates), rel=1e-4)
    assert far(mine, theirs) < 1e-5


# How far a weight may be from TensorFlow's after an epoch, and a block's loss, relative to it;
# docs/compiled.md says what was found, and why adam's are wider.
EPOCH_TOLERANCES = {
    ("dense", "sgd"): (1e-5, 1e-5),
    ("convolved", "sgd"): (1e-5, 1e-5),
    ("normalised", "sgd"): (1e-5, 1e-5),
    ("dense", "adam"): (2e-3, 1e-3),
    ("convolved", "adam"): (2e-3, 1e-3),
    ("normalised", "adam"): (0.05, 0.05),
}


@pytest.mark.parametrize(("name", "optimizer"), EPOCH_TOLERANCES)
def test_weights_after_an_epoch_are_tensorflow_s(compiled, name, optimizer):
    """Of real digits, in the same order; the last batch is ragged."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x, y = digits.images[..., None].astype(np.uint8), digits.target.astype(np.int32)
    mine, theirs = both(compiled(name, optimizer), name, optimizer)
    of_weights, of_losses = EPOCH_TOLERANCES[name, optimizer]
    schedule = Schedule(len(x), BATCH, seed=0, client=0)
    for _, positions in schedule.blocks(0, schedule.steps_per_epoch, 32):
        found = mine.train(x[positions], y[positions])
        assert found == pytest.approx(theirs.train(x[positions], y[positions]), rel=of_losses)
    assert far(mine, theirs) < of_weights
    wanted = theirs.score(x, y).correct
    assert mine.score(x, y).correct == pytest.approx(wanted, abs=of_losses * len(x))


def drawn(compiled, *, worker=0, seed=0, cuts=()):
    """The weights of `drawing` after 10 steps, in activations that end at `cuts`."""
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    x, y = blocks(0, steps=10)
    schedule = Schedule(10 * BATCH, BATCH, seed, worker)
    state = None
    for start, stop in zip((0, *cuts), (*cuts, 10), strict=True):
        trainer = CompiledTrainer(compiled("drawing"), seed=0, threads=1)
        if state is not None:
            trainer.load_state(state)
        trainer.train(x[start:stop], y[start:stop], seeds=schedule.seeds(start, stop))
        state = trainer.state()
    return state


def same(left, right):
    return all(np.array_equal(left[name], right[name]) for name in left)


def test_what_is_drawn_depends_on_seed_worker_and_step_alone(compiled):
    whole = drawn(compiled)
    assert same(whole, drawn(compiled, cuts=range(1, 10)))
    assert not same(whole, drawn(compiled, worker=1))
    assert not same(whole, drawn(compiled, seed=1))


@pytest.mark.parametrize("name", ["drawing", "normalised"])
def test_the_keras_file_has_the_weights_of_the_state(compiled, name, tmp_path):
    """Also where layers have variables that are no weights."""
    import keras

    from disdel.runtimes.compiled.trainer import CompiledTrainer

    trainer = CompiledTrainer(compiled(name), seed=3, threads=1)
    x, y = blocks(0)
    trainer.train(x, y)
    path = tmp_path / "model.keras"
    path.write_bytes(filled(compiled(name) / TEMPLATE, trainer.state()))
    outputs = keras.saving.load_model(path, compile=False).predict(x[0], verbose=0)
    losses = -np.log(outputs[np.arange(BATCH), y[0]])
    assert trainer.score(x[0], y[0]).loss_sum == pytest.approx(losses.sum(), rel=1e-4)


def test_nothing_is_drawn_in_scores(compiled):
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    trainer = CompiledTrainer(compiled("drawing"), seed=0, threads=1)
    x, y = blocks(0)
    assert trainer.score(x[0], y[0]) == trainer.score(x[0], y[0])


def test_one_program_serves_every_seed_and_learning_rate(compiled):
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    def begun(seed, rate=None):
        return CompiledTrainer(compiled("dense"), seed=seed, learning_rate=rate, threads=1)

    first, other = begun(0).state(), begun(1).state()
    kernels = [name for name in first if name.startswith("model/") and name.endswith("kernel")]
    assert kernels
    assert not any(np.array_equal(first[name], other[name]) for name in kernels)
    assert same(first, begun(0).state())
    x, y = blocks(0)
    slow, fast = begun(0, 1e-4), begun(0, 1e-1)
    for trainer in (slow, fast):
        trainer.train(x, y)
    for name in kernels:
        moved = [np.abs(trainer.state()[name] - first[name]).max() for trainer in (slow, fast)]
        assert moved[0] < 1e-3 < moved[1]
