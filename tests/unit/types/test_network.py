"""What a network answers, whoever wrote it."""

from dataclasses import replace

import pytest

from disdel.models import built_in
from disdel.types import DEFAULT_OPTIMIZER, OptimizerSpec
from tests.support.specs import own_model

MINE = own_model(input_shape=(4,), classes=2)
LION = OptimizerSpec(name="lion", beside_code=True)
WITH_LION = replace(MINE, default_optimizer=LION)
BUILT_IN = built_in("mlp", input_shape=(4,), classes=2)
DEFAULT = OptimizerSpec(name=DEFAULT_OPTIMIZER)


@pytest.mark.parametrize(
    ("model", "asked", "trained_with"),
    [
        (BUILT_IN, None, DEFAULT),
        (BUILT_IN, "sgd", OptimizerSpec(name="sgd")),
        (MINE, None, DEFAULT),
        (WITH_LION, "sgd", OptimizerSpec(name="sgd")),
        (WITH_LION, None, LION),
    ],
)
def test_its_optimizer(model, asked, trained_with):
    assert model.optimizer(asked) == trained_with
    assert model.optimizer(asked).named == (None if trained_with.beside_code else trained_with.name)


def test_its_code_home_and_title():
    assert (BUILT_IN.code, BUILT_IN.home, BUILT_IN.title) == (None, None, "mlp")
    assert (MINE.code.entry, MINE.home, MINE.title) == ("net.py:f", "torch", "net.py:f")
    assert MINE.label == "net.py:f-4-2-000000000000"
