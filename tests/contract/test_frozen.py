"""What a trainer says that no step changes, beside what its steps change."""

import numpy as np
import pytest

pytestmark = pytest.mark.framework

SHAPE, CLASSES, BATCH = (4, 4, 1), 3, 8


def keras_trainer():
    import keras
    from keras import layers

    from disdel.runtimes.keras.trainer import KerasTrainer

    body = keras.Sequential([layers.Dense(5, name="body"), layers.BatchNormalization()])
    given = keras.Input(SHAPE, dtype="float32")
    x = layers.Normalization(mean=3.0, variance=2.0)(layers.Flatten()(given))
    x = body(layers.Normalization(name="adapted")(x))
    x = layers.Dense(5, trainable=False, name="fixed")(x)
    moving = layers.BatchNormalization(name="moving")
    one_by_one = layers.Dense(CLASSES, activation="softmax", name="head")
    model = keras.Model(given, one_by_one(moving(x)))
    body.trainable = False
    one_by_one.bias.trainable = False
    return KerasTrainer(model, optimizer="sgd", learning_rate=0.5, input_dtype="float32")


def torch_trainer():
    import torch
    from torch import nn

    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.recipe import OF_CLASSES
    from disdel.runtimes.torch.trainer import TorchTrainer

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(16, 5), nn.BatchNorm1d(5)).requires_grad_(False)
            self.fixed, self.moving = nn.Linear(5, 5), nn.BatchNorm1d(5)
            self.head = nn.Linear(5, CLASSES)
            self.register_buffer("offset", torch.ones(5), persistent=False)
            self.register_buffer("seen", torch.zeros(()))

        def train(self, mode=True):
            super().train(mode)
            self.body.eval()
            return self

        def forward(self, x):
            if self.training:
                self.seen += 1
            x = self.fixed(self.body(x.flatten(1)) + self.offset)
            return self.head(self.moving(x)).log_softmax(1)

    made = Module()
    # One by one: of the layer `fixed`, no parameter is given to the optimizer.
    trained = {
        name: one
        for name, one in made.named_parameters()
        if one.requires_grad and not name.startswith("fixed") and name != "head.bias"
    }
    optimizer = TorchOptimizer([Group(keras_rule("sgd", 0.5), trained)])
    return TorchTrainer(made, optimizer=optimizer, save=lambda path: None, recipe=OF_CLASSES)


@pytest.mark.parametrize("make", [keras_trainer, torch_trainer])
def test_what_is_frozen_is_what_neither_gradients_nor_statistics_change(make):
    trainer = make()
    before = trainer.state()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, BATCH, *SHAPE)).astype(np.float32)
    trainer.train(x, rng.integers(0, CLASSES, (3, BATCH)).astype(np.int32))
    after = trainer.state()
    floats = {
        name
        for name, value in before.items()
        if name.startswith("model/") and value.dtype.kind == "f"
    }
    same = {name for name in floats if before[name].tobytes() == after[name].tobytes()}
    frozen = set(trainer.frozen())
    assert frozen & floats == same
    assert not frozen & set(trainer.trained())
    parts = {part for name in frozen for part in ("body", "fixed", "head") if part in name}
    assert parts >= {"fixed", "head"}
    # The statistics of the layer that is trained, and its scale and offset.
    assert sum("moving" in name or "batch_normalization" in name for name in floats - frozen) >= 4
