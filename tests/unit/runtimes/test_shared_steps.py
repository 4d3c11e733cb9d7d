"""How far a step moves averages of batch statistics, where clients share a run's steps."""

import numpy as np
import pytest

pytestmark = [
    pytest.mark.framework,
    # Keras's own, when it saves.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def keras_trainer():
    import keras

    from disdel.runtimes.keras.trainer import KerasTrainer

    layers = [
        keras.Input((4,)),
        # One inside of another model, as user's are.
        keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(momentum=0.8)]),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    return model, KerasTrainer(model, optimizer="sgd", learning_rate=0.0, input_dtype="float32")


def torch_trainer():
    from torch import nn

    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.trainer import TorchTrainer

    model = nn.Sequential(
        nn.BatchNorm1d(4, momentum=0.2),
        nn.BatchNorm1d(4, momentum=None),
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.Linear(4, 3),
        nn.LogSoftmax(1),
    )
    groups = [Group(keras_rule("sgd", 0.0), dict(model.named_parameters()))]
    return model, TorchTrainer(model, optimizer=TorchOptimizer(groups), save=print)


@pytest.mark.parametrize("make", [keras_trainer, torch_trainer])
def test_a_shared_step_moves_averages_as_far_as_so_many_steps(make):
    """Without a learning rate, a batch has the same statistics at each step."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (1, 16, 4)).astype(np.float32)
    y = rng.integers(0, 3, (1, 16)).astype(np.int32)
    _, trainer = make()
    began = trainer.state()
    after = {0: began}
    for step in (1, 2, 3):
        trainer.train(x, y)
        after[step] = trainer.state()
    averages = [name for name, value in began.items() if (value != after[1][name]).any()]
    averages = [name for name in averages if began[name].dtype == np.float32]
    assert averages
    for clients in (3, 1, 2):
        trainer.load_state(began)
        trainer.share_steps(clients)
        trainer.train(x, y)
        found = trainer.state()
        for name in averages:
            np.testing.assert_allclose(found[name], after[clients][name], rtol=1e-5, err_msg=name)


def test_a_saved_model_has_the_momentum_that_it_was_given(tmp_path):
    import keras

    _, trainer = keras_trainer()
    trainer.share_steps(3)
    x, y = np.ones((1, 2, 4), np.float32), np.zeros((1, 2), np.int32)
    trainer.train(x, y)
    trainer.save_model(tmp_path / "model.keras")
    [normalised] = keras.models.load_model(tmp_path / "model.keras").layers[0].layers
    assert normalised.momentum == 0.8
