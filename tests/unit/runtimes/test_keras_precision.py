"""What a Keras model computes in while it trains in mixed precision, and what stays of it."""

import numpy as np
import pytest

from disdel.runtimes.keras.precision import mixed_bfloat16

pytestmark = pytest.mark.framework


@pytest.fixture
def model():
    """A layer of the default policy, one that the user wants in float64, and a softmax; nested."""
    import keras

    inner = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="plain"),
            keras.layers.Dense(6, name="wanted", dtype="float64"),
        ]
    )
    outer = keras.Input((4,))
    outputs = keras.layers.Dense(3, activation="softmax", name="last")(inner(outer))
    return keras.Model(outer, outputs)


def policies(model):
    return {layer.name: layer.dtype_policy.name for layer in model._flatten_layers()}


def test_all_layers_but_the_last_and_those_of_another_policy(model):
    with mixed_bfloat16(model):
        inside = policies(model)
        outputs = model(np.ones((2, 4), np.float32))
    chosen = {name: inside[name] for name in ("plain", "wanted", "last")}
    assert chosen == {"plain": "mixed_bfloat16", "wanted": "float64", "last": "float32"}
    assert outputs.dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32", "float64"}


def test_nothing_stays_after_the_call(model):
    import keras

    before = policies(model)

    def fail():
        with mixed_bfloat16(model):
            assert policies(model) != before
            assert keras.config.dtype_policy().name == "float32"
            raise ValueError("out of it")

    with pytest.raises(ValueError, match="out of it"):
        fail()
    assert policies(model) == before


def trainer_of(layers):
    import keras

    from disdel.runtimes.keras.trainer import KerasTrainer

    model = keras.Sequential([keras.Input((9, 9, 2)), *layers])
    return KerasTrainer(model, optimizer="adam", learning_rate=None, input_dtype="float32")


def samples_of(count):
    x = np.linspace(0, 1, count * 162, dtype=np.float32).reshape(count, 9, 9, 2)
    return x, np.zeros(count, np.int32)


def plain_layers():
    from keras import layers

    return [
        layers.Conv2D(4, 3, strides=2, padding="same"),
        layers.Conv2D(3, 2, use_bias=False),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(5, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ]


def test_products_are_those_of_the_layers_and_change_nothing(monkeypatch):
    """As many multiply-adds as a step takes: three a layer, two of the first."""
    import tensorflow as tf

    trainer = trainer_of(plain_layers())
    before = {name: tensor.copy() for name, tensor in trainer.state().items()}
    called = []

    def count(module, name):
        real = getattr(module, name)

        def counted(*given, **named):
            called.append((name, real(*given, **named)))
            return called[-1][1]

        monkeypatch.setattr(module, name, counted)

    count(tf, "matmul")
    names = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
    for name in names:
        count(tf.raw_ops, name)
    rehearse = trainer.rehearsal(*samples_of(8))
    rehearse("bfloat16")
    shapes = [(name, tuple(found.shape), found.dtype.name) for name, found in called]
    assert shapes == [
        ("Conv2D", (8, 5, 5, 4), "bfloat16"),
        ("Conv2DBackpropFilter", (3, 3, 2, 4), "bfloat16"),
        ("Conv2D", (8, 4, 4, 3), "bfloat16"),
        ("Conv2DBackpropInput", (8, 5, 5, 4), "bfloat16"),
        ("Conv2DBackpropFilter", (2, 2, 4, 3), "bfloat16"),
        ("matmul", (8, 5), "bfloat16"),
        ("matmul", (8, 12), "bfloat16"),
        ("matmul", (12, 5), "bfloat16"),
        ("matmul", (8, 3), "float32"),
        ("matmul", (8, 5), "float32"),
        ("matmul", (5, 3), "float32"),
    ]
    called.clear()
    rehearse("float32")
    assert {found.dtype.name for _, found in called} == {"float32"}
    assert trainer._graphs == {}
    after = trainer.state()
    assert all((after[name] == tensor).all() for name, tensor in before.items())


def test_a_layer_whose_products_are_not_known_is_tried_by_whole_steps():
    from keras import layers

    trainer = trainer_of([layers.BatchNormalization(), *plain_layers()])
    trainer.rehearsal(*samples_of(4))("bfloat16")
    assert [precision for precision, *_ in trainer._graphs] == ["bfloat16"]


@pytest.mark.parametrize("how", [{"groups": 2}, {"dilation_rate": 2}])
def test_a_convolution_of_another_kind_is_tried_by_whole_steps(how):
    from keras import layers

    trainer = trainer_of([layers.Conv2D(4, 3, **how), layers.Flatten(), layers.Dense(3)])
    trainer.rehearsal(*samples_of(4))("float32")
    assert [precision for precision, *_ in trainer._graphs] == ["float32"]
