"""Files of PyTorch models that earlier versions have written say what networks those were."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from disdel.errors import UsageError
from disdel.models import built_in
from disdel.models.torch_files import read_torch_file
from disdel.types import Scaling

SCALED = {"mean": [1, 2, 3], "deviation": [1, 1, 2], "target_mean": 5.0, "target_deviation": 2.5}
OWN = {
    "code": {
        "entry": "net.py:f",
        "source": "net.py",
        "function": "f",
        "requirements": ["torch"],
        "digest": "0" * 20,
    },
    "runtime": "torch",
    "facts": dict.fromkeys(
        ("parameters", "activations", "outputs", "largest", "layers", "multiply_adds"), 9
    ),
    "gives_probabilities": True,
    "optimizer": None,
    "optimizer_groups": [],
    "has_schedule": False,
    "takes_integers": True,
}


@pytest.fixture
def read(tmp_path):
    def read(version, input_dtype, **model):
        fields = {"version": version, "model": model, "input_dtype": input_dtype}
        path = tmp_path / "model.safetensors"
        save_file({"a": np.zeros(1)}, path, {"disdel": json.dumps(fields)})
        return read_torch_file(path)

    return read


@pytest.mark.parametrize(("version", "scaling"), [(1, {}), (2, {"scaling": None})])
def test_a_built_in_network(read, version, scaling):
    fields = {"name": "cnn", "input_shape": [8, 8, 1], "classes": 10, "target": "class"}
    found = read(version, "uint8", **fields, own=None, **scaling)
    assert found == built_in("cnn", input_shape=(8, 8, 1), classes=10)


def test_one_that_predicts_numbers(read):
    fields = {"name": "mlp", "input_shape": [3], "classes": 0, "target": "number"}
    found = read(2, "float32", **fields, own=None, scaling=SCALED)
    scaling = Scaling(
        mean=(1, 2, 3), deviation=(1, 1, 2), target_mean=(5.0,), target_deviation=(2.5,)
    )
    wanted = built_in("mlp", input_shape=(3,), classes=0, input_dtype="float32", scaling=scaling)
    assert found == wanted
    assert found.loss.unit == 6.25


def test_one_of_the_users_own(read):
    fields = {"name": "net.py:f", "input_shape": [7], "classes": 2, "target": "binary"}
    found = read(2, "int32", **fields, own=OWN, scaling=None)
    assert (found.code.entry, found.home, found.learns) == ("net.py:f", "torch", "binary")
    assert (found.takes_integers, found.gives_probabilities) == (True, True)
    assert (found.input_dtype, found.features[0].kind) == ("int32", "tokens")


def test_what_lacks_something_is_no_model(read):
    with pytest.raises(UsageError, match=r"no model of disdel's: 'own'"):
        read(2, "uint8", name="cnn", input_shape=[8, 8, 1], classes=10, target="class")
