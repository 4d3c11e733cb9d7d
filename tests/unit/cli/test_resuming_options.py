"""What may be said beside `--resume`."""

import pytest

from disdel.cli.declared import Given
from disdel.cli.resuming import check_resumed
from disdel.errors import UsageError
from disdel.types import FederateJob


def check(before, **said):
    asked = Given(FederateJob, said, {name: f"--{name.replace('_', '-')}" for name in said})
    job = FederateJob(dataset="digits", clients=4, **before)
    check_resumed(asked, job, "rounds", may_differ=("containers",))


def test_where_a_federation_runs_may_change_and_what_it_computes_may_not():
    check({}, containers=2, rounds=30)
    check({"containers": 1}, containers=None)
    with pytest.raises(UsageError, match="--seed is 3, and 0 in the run to be resumed; only "):
        check({}, seed=3)


def test_what_a_run_had_not_been_given_is_told_as_its_default():
    with pytest.raises(
        UsageError, match=r"is 2, and all in the run.*--rounds and --containers may"
    ):
        check({}, clients_per_round=2)
    with pytest.raises(UsageError, match=r"is 0.1, and not given in the run"):
        check({}, client_rate=0.1)
