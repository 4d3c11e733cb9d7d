"""Optimizers, losses and models as people have them, beside Keras's `fit` on the same batches."""

from pathlib import Path

import numpy as np
import pytest

from disdel.models.builtin.keras_models import load_keras_network
from disdel.user_code.module import UserModule
from tests.support.own_keras import own_trainer

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

NET = """
import keras
from keras import layers, ops
{head}
def optimizer(): {optimizer}
def make(input_shape, classes):
    x = given = keras.Input(input_shape)
    {body}
    return keras.Model(given, layers.Dense(classes)(x))
loss = {loss}
"""
LOGITS = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
DENSE = "x = layers.Dense(5, activation='tanh')(x)"
STOPPED = f"{DENSE}; x = ops.stop_gradient(x)"
PENALISED = (
    "x = layers.Dense(5, kernel_regularizer='l2', activity_regularizer='l1', "
    "bias_constraint='non_neg')(x); x = layers.BatchNormalization(momentum=0.5)(x)"
)
FROZEN = (
    "x = layers.Dense(5, trainable=False)(x); x = layers.BatchNormalization(trainable=False)(x)"
)
TOKENS = "x = layers.Embedding(9, 3)(ops.clip(3 * ops.abs(x), 0, 8)); x = layers.Flatten()(x)"
COSINE = "keras.optimizers.schedules.CosineDecay(0.5, 8, warmup_target=0.9, warmup_steps=3)"
OWN_LAYER = """
class Sum(layers.Layer):
    def call(self, x, training=False):
        if training:
            self.add_loss(0.1 * ops.mean(ops.square(x)))
            return 2 * x
        return x
"""
EMPTY = """
class Empty(layers.Layer):
    def build(self, shape):
        self.nothing = self.add_weight(shape=(0,))
    def call(self, x):
        return x + ops.sum(self.nothing)
"""
COUNTING = """
class Count(layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(name="calls", initializer="zeros", trainable=False)
    def call(self, x):
        self.calls.assign_add(1)
        return x
"""
OWN_OPTIMIZER = """
class Signed(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, ops.sign(gradient) * learning_rate)
"""


def blocks(steps=8, batch=6):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, 4)).astype(np.float32)
    return x, rng.integers(0, 3, (steps, batch)).astype(np.int32)


@pytest.fixture
def mine(requested):
    """The trainer of such a text, as an action builds it, and its module; no step is taken."""

    def mine(text, learning_rate=None):
        import keras

        request = requested(text)
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        module = UserModule(request.code, Path(request.folder))
        trainer = own_trainer(module, input_shape=(4,), classes=3, learning_rate=learning_rate)
        return trainer, module

    return mine


def text_of(optimizer, more):
    parts = {"head": "", "body": DENSE, "loss": LOGITS} | more
    return NET.format(optimizer=f"return keras.optimizers.{optimizer}", **parts)


def fitted(text, x, y):
    """The weights that Keras's own training ends with, from the same first ones."""
    import keras

    names = {}
    exec(text.replace("keras.optimizers.Signed", "Signed"), names)
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = names["make"]((4,), 3)
    # XLA takes longer than all steps.
    model.compile(names["optimizer"](), names["loss"], jit_compile=False)
    model.fit(x.reshape(-1, 4), y.reshape(-1), batch_size=x.shape[1], shuffle=False, verbose=0)
    return model.get_weights()


def saved_weights(trainer, module, folder):
    trainer.save_model(folder / "model.keras")
    return load_keras_network(folder / "model.keras", module).get_weights()


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("SGD(0.5, use_ema=True, ema_momentum=0.8)", {}),
        ("Adam(0.1, use_ema=True, ema_overwrite_frequency=3, clipnorm=0.1)", {"body": TOKENS}),
        ("SGD(0.5, momentum=0.9, loss_scale_factor=64.0, clipvalue=0.1)", {"body": FROZEN}),
        (f"LossScaleOptimizer(keras.optimizers.SGD({COSINE}), dynamic_growth_steps=3)", {}),
        (f"Adam({COSINE}, gradient_accumulation_steps=3, use_ema=True)", {}),
        ("SGD(lambda: 0.25, global_clipnorm=0.1)", {"body": TOKENS}),
        ("AdamW(0.1, weight_decay=0.5, use_ema=True)", {"body": STOPPED}),
        (
            "SGD(0.1, nesterov=True, momentum=0.9)",
            {"loss": LOGITS.replace("True", "True, reduction='sum'"), "body": PENALISED},
        ),
        ("Signed(0.1)", {"body": "x = Sum()(x)", "head": OWN_LAYER + OWN_OPTIMIZER}),
        ("Adam(0.1)", {"body": "x = Empty()(x)", "head": EMPTY}),
        ("Adamax(0.1)", {"body": "x = layers.Dense(5, dtype='mixed_float16')(x)"}),
    ],
)
def test_weights_are_those_of_fit(mine, tmp_path, optimizer, more):
    text = text_of(optimizer, more).replace("keras.optimizers.Signed", "Signed")
    x, y = blocks()
    first, _ = mine(text)
    first.train(x[:3], y[:3])
    second, module = mine(text)
    second.load_state(first.state())
    second.train(x[3:], y[3:])
    expected = fitted(text, x, y)
    for one, other in zip(saved_weights(second, module, tmp_path), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("AdamW(0.1, weight_decay=0.5, loss_scale_factor=8.0)", {"body": STOPPED}),
        (
            "SGD(0.1)",
            {
                "loss": LOGITS.replace("True", "True, reduction='sum'"),
                "body": PENALISED.partition(";")[0],
            },
        ),
        ("SGD(0.1)", {"loss": LOGITS.replace("True", "True, ignore_class=1"), "body": TOKENS}),
    ],
)
def test_a_batch_in_parts_is_one_step_of_fit(mine, tmp_path, optimizer, more):
    text = text_of(optimizer, more)
    x, y = blocks()
    y[0, 2:4] = 1  # a part of ignored ones
    trainer, module = mine(text)
    trainer.train(x, y, micro_batches=3)
    expected = fitted(text, x, y)
    for one, other in zip(saved_weights(trainer, module, tmp_path), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_what_a_layer_changes_is_changed_once_for_a_part(mine):
    trainer, _ = mine(text_of("SGD(0.1)", {"body": "x = Count()(x)", "head": COUNTING}))
    trainer.train(*blocks(), micro_batches=3)
    [calls] = [value for name, value in trainer.state().items() if name.endswith("/calls")]
    assert calls == 8 * 3


def test_augment_changes_a_whole_batch_however_it_is_cut(mine):
    """Also which of its labels count."""
    loss = LOGITS.replace("True", "True, ignore_class=1")
    augment = "def augment(x, y): return x - ops.flip(x, 0), ops.flip(y, 0)"
    text = text_of("SGD(0.5)", {"loss": loss, "head": augment})
    x, y = blocks()
    (whole, _), (cut, _) = mine(text), mine(text)
    assert cut.train(x, y, micro_batches=3) == pytest.approx(whole.train(x, y), rel=1e-5)
    for name, value in whole.state().items():
        np.testing.assert_allclose(cut.state()[name], value, atol=1e-5)
