"""What a network answers, whoever wrote it."""

import pytest

from disdel.types import (
    DEFAULT_OPTIMIZER,
    CodeRef,
    ModelFacts,
    ModelSpec,
    OptimizerSpec,
    OwnModel,
)

FACTS = ModelFacts(parameters=9, activations=9, outputs=9, largest=9, layers=1, multiply_adds=9)
CODE = CodeRef(entry="net.py:f", source="net.py", function="f", requirements=(), digest="0" * 20)


def own(optimizer):
    found = OwnModel(
        code=CODE, runtime="torch", facts=FACTS, gives_probabilities=False, optimizer=optimizer
    )
    return ModelSpec(name="net.py:f", input_shape=(4,), classes=2, own=found)


BUILT_IN = ModelSpec(name="mlp", input_shape=(4,), classes=2)
DEFAULT = OptimizerSpec(name=DEFAULT_OPTIMIZER)


@pytest.mark.parametrize(
    ("model", "asked", "trained_with"),
    [
        (BUILT_IN, None, DEFAULT),
        (BUILT_IN, "sgd", OptimizerSpec(name="sgd")),
        (own(None), None, DEFAULT),
        (own("lion"), "sgd", OptimizerSpec(name="sgd")),
        (own("lion"), None, OptimizerSpec(name="lion", beside_code=True)),
    ],
)
def test_its_optimizer(model, asked, trained_with):
    assert model.optimizer(asked) == trained_with
    assert model.optimizer(asked).named == (None if trained_with.beside_code else trained_with.name)


def test_its_code_home_and_title():
    assert (BUILT_IN.code, BUILT_IN.home, BUILT_IN.title) == (None, None, "mlp")
    mine = own(None)
    assert (mine.code, mine.home, mine.title) == (CODE, "torch", "net.py:f")
    assert mine.label == "net.py:f-4-2-000000000000"
