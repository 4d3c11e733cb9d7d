"""Sequences of which a mask leaves some out, and penalties, beside Keras's own loops."""

from pathlib import Path

import numpy as np
import pytest

from disdel.runtimes.base import sum_of
from disdel.user_code.module import UserModule
from tests.support.own_keras import own_trainer

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LENGTH, CLASSES, BATCH = 5, 3, 6
NET = """
import keras
from keras import layers, ops
def optimizer(): return keras.optimizers.SGD(0.5)
def make(input_shape):
    x = given = keras.Input(input_shape, dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(x)
    x = layers.Dense(4, activation="tanh")(x)
    return keras.Model(given, layers.{last}(x))
def absolute(y_true, y_pred):
    return ops.mean(ops.abs(ops.one_hot(ops.cast(y_true, "int32"), 3) - y_pred), -1)
loss = {loss}
metrics = [{metrics}]
"""
SOFTMAX = f"Dense({CLASSES}, activation='softmax')"
NAMED = "'sparse_categorical_crossentropy'"
CASES = {
    "as usual": (SOFTMAX, NAMED, "keras.metrics.SparseTopKCategoricalAccuracy(2)"),
    "an object": (f"Dense({CLASSES})", "keras.losses.SparseCategoricalCrossentropy(True)", ""),
    "ignored": (SOFTMAX, "keras.losses.SparseCategoricalCrossentropy(ignore_class=1)", ""),
    "a function": (SOFTMAX, "absolute", "absolute"),
    "a sum": (SOFTMAX, "keras.losses.SparseCategoricalCrossentropy(reduction='sum')", ""),
    "penalties": ("Dense(3, activation='softmax', kernel_regularizer='l2')", NAMED, ""),
    "float64": (SOFTMAX.replace(")", ", dtype='float64')"), NAMED, ""),
    "bfloat16": (SOFTMAX.replace(")", ", dtype='mixed_bfloat16')"), NAMED, ""),
}


def text_of(case):
    last, loss, metrics = CASES[case]
    return NET.format(last=last, loss=loss, metrics=metrics)


@pytest.fixture
def block():
    """Sequences that are padded with zeros, one of them throughout, in steps of a batch."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 7, (2, BATCH, LENGTH)).astype(np.int32)
    for row, length in zip(x.reshape(-1, LENGTH), rng.integers(0, LENGTH + 1, 99), strict=False):
        row[length:] = 0
    x[0, :2] = 0  # of three parts, one has nothing that counts
    return x, rng.integers(0, CLASSES, x.shape).astype(np.int32)


@pytest.fixture
def mine(requested):
    """The trainer of such a text, as an action builds it."""

    def mine(text, classes=CLASSES, length=LENGTH, **options):
        import keras

        shapes = {"input_shape": (length,), "classes": classes, "target_shape": (length,)}
        request = requested(
            text, input_dtype="int32", tokens=True, x=np.ones((2, length)), **shapes
        )
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        module = UserModule(request.code, Path(request.folder))
        given = "'softmax'" in text
        return own_trainer(
            module, **shapes, gives_probabilities=given, input_dtype="int32", **options
        )

    return mine


def theirs(text):
    """The same in Keras, from the same first weights."""
    import keras

    names = {}
    exec(text, names)
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = names["make"]((LENGTH,))
    metrics = ["sparse_categorical_accuracy", *names["metrics"]]
    # XLA takes longer than all steps.
    model.compile(names["optimizer"](), names["loss"], metrics=metrics, jit_compile=False)
    return model


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        *((case, 3) for case in CASES),
        *((case, 1) for case in ("as usual", "a function", "float64")),
    ],
)
def test_a_step_counts_what_fit_counts(mine, block, case, parts):
    x, y = block
    trainer, model = mine(text_of(case)), theirs(text_of(case))
    loss_sum = trainer.train(x, y, micro_batches=parts)
    expected = [model.train_on_batch(*one)[0] for one in zip(x, y, strict=True)]
    rel = 1e-2 if case == "bfloat16" else 1e-5
    assert loss_sum == pytest.approx(BATCH * sum(map(float, expected)), rel=rel)
    trained = [value for name, value in trainer.state().items() if name.startswith("model/")]
    for one, other in zip(trained, model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2 if case == "bfloat16" else 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_score_counts_what_evaluate_counts(mine, block, case):
    x, y = block
    trainer, model = mine(text_of(case)), theirs(text_of(case))
    found = sum_of(trainer.score(*one) for one in zip(x, y, strict=True))
    samples, flat = x.shape[0] * BATCH, x.reshape(-1, LENGTH)
    loss, accuracy, *metrics = model.evaluate(
        flat, y.reshape(-1, LENGTH), batch_size=BATCH, verbose=0
    )
    rel = 1e-2 if case == "bfloat16" else 1e-5
    assert found.labels == np.count_nonzero(flat)
    assert found.loss_sum / samples == pytest.approx(loss, rel=rel)
    assert found.correct / found.labels == pytest.approx(accuracy)
    counted = found.labels / LENGTH
    assert [total / counted for total in found.metric_sums.values()] == pytest.approx(metrics)


def test_mixed_precision_leaves_masks(mine, block):
    x, y = block
    exact, mixed = mine(text_of("as usual")), mine(text_of("as usual"), precision="bfloat16")
    assert mixed.train(x, y, 3) == pytest.approx(exact.train(x, y, 3), rel=1e-2)
    # What is masked has a loss of its own, which would be in the mean.
    other = np.where(x == 0, (y + 1) % CLASSES, y)
    assert mine(text_of("as usual"), precision="bfloat16").train(x, other) == pytest.approx(
        mine(text_of("as usual"), precision="bfloat16").train(x, y), abs=0
    )


def test_a_function_without_a_value_for_each_entry_of_a_mask_is_refused(mine, block):
    from disdel.errors import UsageError

    text = text_of("a function").replace("y_pred), -1)", "y_pred), (1, 2))")
    with pytest.raises(UsageError, match=r"mask of shape .* one loss or metric of shape"):
        mine(text).train(*block)


@pytest.mark.parametrize("case", ["an object", "two classes"])
@pytest.mark.parametrize("length", [LENGTH, CLASSES])
def test_a_saved_model_gives_what_it_was_trained_to_and_its_mask(mine, tmp_path, case, length):
    """As long as there are classes, a mask could be taken for one of these."""
    import keras

    from disdel.models.keras_networks import load_predictor

    text, classes = text_of("an object"), CLASSES
    if case == "two classes":
        classes, text = 2, text.replace(CASES["an object"][0], "Dense(1)")
        text = text.replace("SparseCategoricalCrossentropy", "BinaryCrossentropy")
    trainer = mine(text, classes=classes, length=length)
    trainer.save_model(tmp_path / "model.keras")
    x = np.arange(2 * length, dtype=np.int32).reshape(2, -1) % 7
    found = load_predictor(tmp_path / "model.keras", None)(x)
    assert np.array_equal(np.ma.getmaskarray(found)[..., 0], x == 0)
    outputs = np.asarray(trainer._model(x))
    if classes == 2:
        chance = np.asarray(keras.ops.sigmoid(outputs))
        wanted = np.concatenate([1 - chance, chance], -1)
    else:
        wanted = np.asarray(keras.ops.softmax(outputs))
    np.testing.assert_allclose(found.data, wanted, rtol=1e-6)


def test_a_mask_of_other_axes_says_nothing_of_predictions(tmp_path):
    import keras

    from disdel.models.keras_networks import load_predictor

    @keras.saving.register_keras_serializable()
    class Pooled(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, x):
            return keras.ops.mean(x, 1)

    layers = [
        keras.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(7, 4, mask_zero=True),
        Pooled(),
        keras.layers.Dense(CLASSES, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.save(tmp_path / "model.keras")
    x = np.zeros((2, LENGTH), np.int32)
    found = load_predictor(tmp_path / "model.keras", None)(x)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, np.asarray(model(x)), rtol=1e-6)
