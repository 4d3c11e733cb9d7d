"""Between which precisions a trial may choose, and what earlier ones have said."""

from dataclasses import replace

import pytest

from disdel.models import choose_model
from disdel.planner.observations import Observation
from disdel.planner.precision import open_precisions, tried_precision
from tests.support.specs import dataset_spec, own_model

BOTH = ("float32", "bfloat16")
CNN = choose_model(
    "cnn",
    dataset_spec(
        name="d",
        version="1",
        input_shape=(28, 28, 1),
        input_dtype="uint8",
        classes=10,
        train_samples=1000,
        test_samples=10,
    ),
)


@pytest.mark.parametrize(
    ("model", "batch", "able", "on_gpu", "wanted"),
    [
        (CNN, 64, BOTH, False, BOTH),
        (CNN, 10, BOTH, False, ("float32",)),
        (CNN, 64, BOTH, True, ("float32",)),
        (CNN, 64, ("float32",), False, ("float32",)),
        (replace(CNN, learns="number"), 64, BOTH, False, ("float32",)),
        (replace(CNN, name="resnet20"), 64, BOTH, False, ("float32",)),
        (
            own_model(input_shape=(28, 28, 1), classes=10, facts=CNN.facts),
            64,
            BOTH,
            False,
            ("float32",),
        ),
    ],
)
def test_only_heavy_steps_of_known_networks_are_tried(model, batch, able, on_gpu, wanted):
    assert open_precisions(model, batch, able, on_gpu=on_gpu) == wanted


def seen(precision, step_s, *, tried, model="cnn", batch=64):
    return Observation(
        model=model,
        batch_size=batch,
        shard_samples=1,
        threads=1,
        predicted_mb=1,
        working_set_mb=1,
        step_s=step_s,
        precision=precision,
        tried=tried,
    )


def test_a_trial_counts_for_its_network_and_batch_until_whole_trainings_say_otherwise():
    asked_for, chosen = seen("float32", 0.004, tried=False), seen("bfloat16", 0.003, tried=True)
    assert tried_precision([asked_for], "cnn", 64) is None
    assert tried_precision([chosen], "cnn", 64) == "bfloat16"
    assert tried_precision([chosen], "cnn", 32) is None
    assert tried_precision([chosen], "mlp", 64) is None
    assert tried_precision([asked_for, chosen], "cnn", 64) == "bfloat16"
    faster = seen("float32", 0.002, tried=False)
    assert tried_precision([faster, chosen], "cnn", 64) == "float32"
