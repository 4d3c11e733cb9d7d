"""The file of a trained PyTorch module of the user's own: reading it, and predicting with it."""

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule
from tests.support.torch_nets import TIED, ZERO, blocks, make

pytestmark = pytest.mark.framework


def test_the_file_is_a_plain_state_dict_and_predicts_alone(trainer, tmp_path, monkeypatch):
    import safetensors.torch
    import torch

    from disdel.models.user import bundled as own_code
    from disdel.worker.model_file import load_predictor

    mine = trainer(TIED + "\ndef preprocess(x): return x / 2\n")
    x, y = blocks()
    mine.train(x, y)
    path = tmp_path / "model.safetensors"
    mine.save_model(path)
    # As the docs say it.
    model = UserModule(collect(f"{tmp_path}/net.py:make").ref, tmp_path).call()
    model.load_state_dict(safetensors.torch.load_file(path))
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(x[0]) / 2).softmax(1)
    assert model.again.weight is model.inner.weight
    monkeypatch.setattr(own_code, "BUNDLED", tmp_path)
    with pytest.raises(UsageError, match=r"net.py:make, and its code is not here"):
        load_predictor("torch", path, None)
    code = collect(f"{tmp_path}/net.py:make")
    code.write(tmp_path)
    np.testing.assert_allclose(load_predictor("torch", path, None)(x[0]), expected, rtol=1e-6)
    (tmp_path / "net.py").write_text(make("nn.Linear(4, 3)"))
    collect(f"{tmp_path}/net.py:make").write(tmp_path)
    with pytest.raises(UsageError, match=r"weights are not those of .*net.py:make as it is now"):
        load_predictor("torch", path, None)


def test_a_finished_training_gives_the_users_module(trainer, tmp_path):
    from disdel.api import Trained
    from disdel.settings import Settings

    mine = trainer(TIED)
    folder = tmp_path / "run"
    folder.mkdir()
    mine.save_model(folder / "model.safetensors")
    collect(f"{tmp_path}/net.py:make").write(folder / "code")
    model = Trained(None, folder, Settings()).model
    assert type(model).__name__ == "Net"
    np.testing.assert_array_equal(model.inner.weight.detach(), mine.state()["model/inner.weight"])


@pytest.mark.parametrize(
    ("modules", "classes", "expected"),
    [
        ("Zero(4, classes)", 3, [1 / 3] * 3),
        ("Zero(4, 1)", 2, [0.5, 0.5]),
        ("Zero(4, 1), nn.Sigmoid()", 2, [0.5, 0.5]),
        ("Zero(4, 1)", 0, [0.0]),
        ("Zero(4, 1), nn.Flatten(0)", 0, [0.0]),
        ("Zero(4, 1), nn.Flatten(0)", 2, [0.5, 0.5]),
    ],
)
def test_predictions_are_probabilities_or_numbers(
    trainer, tmp_path, monkeypatch, modules, classes, expected
):
    from disdel.models.user import bundled as own_code
    from disdel.worker.model_file import load_predictor

    trainer(make(modules, head=ZERO), classes=classes).save_model(tmp_path / "model.safetensors")
    collect(f"{tmp_path}/net.py:make").write(tmp_path)
    monkeypatch.setattr(own_code, "BUNDLED", tmp_path)
    predict = load_predictor("torch", tmp_path / "model.safetensors", None)
    np.testing.assert_allclose(predict(np.ones((2, 4), np.float32)), [expected] * 2, rtol=1e-6)
