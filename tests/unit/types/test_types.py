import pytest

from disdel.errors import UsageError
from disdel.types import Aims, Limits, TrainJob


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("batch_size", 0, "--batch must be from 1 to 65536, not 0"),
        ("batch_size", 65_537, "not 65537"),
        ("epochs", 0, "--epochs must be from 1"),
        ("workers", 0, "--workers must be from 1"),
        ("seed", -1, "--seed must be from 0"),
        ("sync", 0, "--sync must be from 1"),
        ("learning_rate", 0.0, "--learning-rate must be above 0"),
        ("learning_rate", float("nan"), "--learning-rate must be above 0"),
        ("average", "mean", "--average must be samples or equal or epochs, not 'mean'"),
        ("optimizer_state", "kept", "--optimizer-state must be reset or local or average"),
        ("workers_policy", "grow", "--workers-policy must be fixed or adapt"),
        ("workers_max", 0, "--workers-max must be from 1"),
        ("optimizer", "adamm", "unknown optimizer 'adamm'; known: adam,"),
        ("precision", "half", "--precision must be float32 or bfloat16 or None, not 'half'"),
    ],
)
def test_a_job_out_of_range_is_refused_when_it_is_made(field, value, told):
    with pytest.raises(UsageError, match=told):
        TrainJob(dataset="mnist", **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("memory_max_mb", 0, "--memory-max"),
        ("pool_memory_mb", -1, "--pool-memory"),
        ("timeout_max_s", 0, "--timeout-max must be above 0"),
    ],
)
def test_limits_out_of_range_are_refused(field, value, told):
    with pytest.raises(UsageError, match=told):
        Limits(**{field: value})


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"sync": "once"}, "it needs --sync epoch, not once"),
        ({"optimizer_state": "local"}, "cannot go with --optimizer-state local"),
    ],
)
def test_what_an_adapting_number_of_workers_cannot_go_with(other, told):
    with pytest.raises(UsageError, match=told):
        TrainJob(dataset="mnist", workers_policy="adapt", **other)


def test_the_defaults_are_batch_64_and_5_epochs():
    job = TrainJob(dataset="mnist")
    assert (job.batch_size, job.epochs, job.sync) == (64, 5, "epoch")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("optimize", "money", "--optimize must be time or cost or memory, not 'money'"),
        ("estimator", "guess", "--estimator must be measured or sap, not 'guess'"),
        ("miss_rate", 0.0, "--miss-rate must be from"),
        ("miss_rate", float("nan"), "--miss-rate must be from"),
    ],
)
def test_aims_that_are_none(field, value, told):
    with pytest.raises(UsageError) as refused:
        Aims(**{field: value})
    assert told in str(refused.value)
