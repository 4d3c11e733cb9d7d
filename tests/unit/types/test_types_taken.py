"""What a program gives in place of the command line is taken as what it is, or refused."""

import re
from pathlib import Path

import numpy as np
import pytest

import disdel
from disdel.errors import UsageError
from disdel.settings import Settings, changed, resolve
from disdel.settings.wording import as_keywords
from disdel.types import FederateJob, InferJob, Limits, TrainJob


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "5"}, "epochs must be a whole number, not '5'"),
        ({"epochs": 2.0}, "epochs must be a whole number, not 2.0"),
        ({"batch": None}, "batch must be a whole number, not None"),
        ({"workers": "many"}, "workers must be a whole number or None, not 'many'"),
        ({"seed": True}, "seed must be a whole number, not True"),
        ({"sync": True}, "sync must be epoch or once or a whole number, not True"),
        ({"sync": 1.5}, "sync must be epoch or once or a whole number, not 1.5"),
        ({"runtime": 1}, "runtime must be a text or None, not 1"),
        ({"model": len}, "model must be a text, not <built-in function len>"),
        ({"optimizer": [1]}, "optimizer must be a text or None, not [1]"),
        ({"learning_rate": "0.1"}, "learning_rate must be a number or None, not '0.1'"),
        ({"warmup": "3"}, "warmup must be a number, not '3'"),
        ({"schedule": 1}, "schedule must be constant or cosine or linear, not 1"),
        ({"target_accuracy": "0.9"}, "target_accuracy must be a number or None"),
        ({"memory_max": "512"}, "memory_max must be a whole number or None, not '512'"),
        ({"gpu_memory": "much"}, "gpu_memory must be a whole number or None, not 'much'"),
        ({"patience_network": "5"}, "patience_network must be a number, not '5'"),
        ({"settings": {}}, "settings must be of the type Settings or None, not {}"),
        ({"dataset": Path("digits")}, "dataset must be a text"),
    ],
)
def test_another_type_is_refused_before_anything_runs(given, said):
    with pytest.raises(UsageError) as refused:
        disdel.train(**{"dataset": "digits", **given})
    assert str(refused.value).startswith(said)


def test_numbers_of_numpy_are_numbers():
    job = TrainJob(
        dataset="digits", epochs=np.int64(3), workers=np.int32(2), learning_rate=np.float32(0.5)
    )
    assert job == TrainJob(dataset="digits", epochs=3, workers=2, learning_rate=0.5)
    assert (type(job.epochs), type(job.workers), type(job.learning_rate)) == (int, int, float)
    assert Limits(memory_max_mb=np.uint16(512)).memory_max_mb == 512


def test_paths_may_be_texts_and_variables_a_list():
    settings = Settings(run_dir="runs", action_env=["A=1"])
    assert (settings.run_dir, settings.action_env) == (Path("runs"), ("A=1",))
    assert InferJob(dataset="digits", input="digit.png").input == Path("digit.png")


@pytest.mark.parametrize("given", [{"apihost": 8080}, {"insecure": "no"}, {"action_env": "A=1"}])
def test_settings_of_another_type_are_refused(given):
    with pytest.raises(UsageError, match="must be"):
        Settings(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 3, "clients": 2}, "use workers=2 or fewer, or more clients"),
        ({"workers_policy": "adapt", "sync": "once"}, "needs sync='epoch', not once"),
        ({"listener": None}, "listener must be a function that takes an event, not None"),
        ({"listener": 5}, "listener must be a function that takes an event, not 5"),
    ],
)
def test_messages_name_keywords(given, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        disdel.train("digits", **given)


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({"containers": "auto"}, {"containers": None}),
        ({"evaluate_clients": "end"}, {"evaluate_clients": 0}),
    ],
)
def test_words_stand_for_values(given, means):
    made = [resolve(FederateJob, {"dataset": "digits", **one}) for one in (given, means)]
    assert made[0] == made[1]


def test_words_of_settings_stand_for_values():
    assert Settings(gpu_memory="off").limits.gpu_memory_mb == 0
    assert changed(Settings(gpu_memory=7), {"gpu_memory": "auto"}).limits.gpu_memory_mb is None


def test_a_look_at_a_partition_names_keywords():
    with pytest.raises(UsageError, match=r"^clients must be from 1"):
        disdel.partition("digits", clients=0)


def test_commands_in_a_message_stay_commands():
    said = "disdel train --resume 7 --epochs 9 goes on; --epochs 9 and --runtime auto, --else"
    assert as_keywords(said, TrainJob) == (
        "disdel train --resume 7 --epochs 9 goes on; epochs=9 and runtime=None, --else"
    )


def test_settings_take_limits_by_their_names():
    settings = Settings(memory_max=600, optimize="cost")
    assert settings.limits == Limits(memory_max_mb=600)
    assert settings.aims.optimize == "cost"
    with pytest.raises(TypeError, match="did you mean 'memory_max'"):
        Settings(memory_mx=600)
    with pytest.raises(TypeError, match="memory_max is given twice"):
        Settings(memory_max=600, limits=Limits())


def test_help_says_what_none_and_zero_are():
    text = " ".join(disdel.train.__doc__.split())
    for said in ("None is auto. 0 is off.", "samples, below 2^32.", "with workers_policy='adapt'"):
        assert said in text
    assert "run_dir:" in disdel.resume.__doc__


def test_a_run_is_named_by_a_text():
    with pytest.raises(UsageError, match="run must be a text, not 5"):
        disdel.resume(5)


def test_the_front_can_be_listed():
    assert set(disdel.__all__) <= set(dir(disdel))
