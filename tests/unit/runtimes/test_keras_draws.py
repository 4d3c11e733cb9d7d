"""What a Keras network draws in training: it follows from the seeds of steps alone."""

from dataclasses import replace

import numpy as np
import pytest

from disdel.runtimes.keras.recipe import recipe_for
from disdel.runtimes.keras.trainer import KerasTrainer
from disdel.runtimes.schedule import Schedule

pytestmark = pytest.mark.framework

WIDTH, RATE = 64, 0.25


def trained_by(model, **recipe):
    return KerasTrainer(
        model,
        optimizer="sgd",
        learning_rate=1.0,
        input_dtype="float32",
        recipe=replace(recipe_for("class", probabilities=False), **recipe),
    )


@pytest.fixture
def dropping():
    """A trainer of inputs that are dropped at `RATE`, and what is kept in a step of one sample."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((WIDTH,)),
            keras.layers.Dropout(RATE),
            keras.layers.Dense(2, kernel_initializer="zeros"),
        ]
    )
    mine = trained_by(model)
    begun = mine.state()
    [kernel] = [name for name in begun if name.endswith("kernel")]

    def kept(seeds):
        mine.load_state(begun)
        mine.train(np.ones((1, 1, WIDTH), np.float32), np.zeros((1, 1), np.int32), seeds=seeds)
        # An input that was dropped has no gradient; others are scaled up.
        moved = mine.state()[kernel][:, 0]
        np.testing.assert_allclose(moved[moved != 0], 0.5 / (1 - RATE), rtol=1e-6)
        return moved != 0

    return mine, kept


def seeds_of(client, steps=6):
    return Schedule(30, 5, seed=7, client=client).seeds(0, steps)


def test_every_client_and_step_drops_other_inputs(dropping):
    mine, kept = dropping
    assert mine.takes_seeds
    seeds = np.concatenate([seeds_of(client) for client in range(10)])
    masks = [kept(seed[np.newaxis]) for seed in seeds]
    assert len({mask.tobytes() for mask in masks}) == len(seeds)
    share = np.mean(masks)
    deviation = np.sqrt(RATE * (1 - RATE) / np.size(masks))
    assert abs(share - (1 - RATE)) < 4 * deviation
    assert (kept(seeds[:1]) == masks[0]).all()


def test_scores_drop_nothing(dropping):
    mine, kept = dropping
    kept(seeds_of(0)[:1])
    x, y = np.ones((1, WIDTH), np.float32), np.zeros(1, np.int32)
    outputs = mine.score(x, y).loss_sum, mine.score(x, y).loss_sum
    kernel, bias = (value for name, value in mine.state().items() if name.endswith(("l", "s")))
    logits = kernel.sum(0, dtype=np.float64) + bias
    assert outputs[0] == outputs[1] == pytest.approx(np.log1p(np.exp(logits[1] - logits[0])))


@pytest.fixture
def noisy():
    """Trainers of one network whose layers, samples and loss draw, from several generators."""
    import keras
    import tensorflow as tf

    own = keras.random.SeedGenerator(5)

    class Shaken(keras.layers.Layer):
        def call(self, inputs, training=False):
            return keras.random.dropout(inputs, 0.2) if training else inputs

    def augment(x, y):
        return x + keras.random.normal(tf.shape(x), seed=own), y

    def make():
        layers = keras.layers
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                layers.RandomFlip(),
                layers.GaussianNoise(0.1),
                layers.Reshape((4, 4)),
                layers.LSTM(5, dropout=0.2, recurrent_dropout=0.2),
                Shaken(),
                layers.Dense(3),
            ]
        )
        return trained_by(model, augment=augment)

    return make


def block():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 4, 4, 1)).astype(np.float32)
    return x, rng.integers(0, 3, (6, 5)).astype(np.int32)


@pytest.mark.parametrize("parts", [1, 2])
def test_steps_go_on_elsewhere_with_the_same_draws(noisy, parts):
    import keras

    x, y = block()
    seeds = seeds_of(1)
    whole = noisy()
    begun = whole.state()
    whole.train(x, y, parts, seeds=seeds)
    # A warm container, that has drawn before; it scores between steps, as some networks draw then.
    other = noisy()
    keras.random.normal((3,))
    other.train(x, y, seeds=seeds_of(5))
    other.load_state(begun)
    other.train(x[:2], y[:2], parts, seeds=seeds[:2])
    last = noisy()
    last.load_state(other.state())
    for step in range(2, 6):
        last.score(x[step], y[step])
        at = slice(step, step + 1)
        last.train(x[at], y[at], parts, seeds=seeds[at])
    expected = whole.state()
    for name, value in last.state().items():
        assert value.tobytes() == expected[name].tobytes(), name
    apart = noisy()
    apart.train(x, y, parts, seeds=seeds_of(0))
    [kernel] = [name for name in begun if name.endswith("dense/kernel")]
    assert (apart.state()[kernel] != expected[kernel]).any()


def test_drawing_leaves_no_trace_in_a_state(noisy):
    """Else that of a round would depend on who has scored what before."""
    mine = noisy()
    begun = mine.state()
    x, y = block()
    mine.train(x, y, seeds=seeds_of(1))
    mine.score(x[0], y[0])
    names = [name for name in begun if name.endswith("seed_generator_state")]
    assert len(names) == 3
    for name in names:
        assert mine.state()[name].tobytes() == begun[name].tobytes()
