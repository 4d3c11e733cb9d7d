"""What may be said beside `--resume`."""

import pytest

from disdel.cli.declared import Given
from disdel.cli.resuming import check_resumed
from disdel.errors import UsageError
from disdel.strategies.asking import with_whole_strategy
from disdel.types import FederateJob
from disdel.types.privacy import Privacy


def check(before, **said):
    asked = Given(FederateJob, said, {name: f"--{name.replace('_', '-')}" for name in said})
    job = with_whole_strategy(FederateJob(dataset="digits", clients=4, **before))
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


PRIVATE = {"average": "equal", "privacy": Privacy(clip=1.0, noise=1.0, epsilon=4.0)}


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"strategy": "fedbuff"}, {"strategy": "fedbuff"}),
        ({"strategy": "fedprox:mu=0.1"}, {"strategy": "fedprox:mu=0.10"}),
        ({"outer": "nesterov"}, {"outer": "nesterov"}),
        (PRIVATE, {"dp_noise": 1.0}),
        (PRIVATE, {"dp_epsilon": 4.0}),
        ({"late": "weigh", "deadline_s": 9.0}, {"late": "weigh"}),
    ],
)
def test_what_a_run_has_may_be_said_again_by_itself(before, said):
    check(before, **said)


@pytest.mark.parametrize(
    ("before", "said", "told"),
    [
        (PRIVATE, {"dp_noise": 3.0}, "--dp-noise is 3.0, and 1.0 in the run"),
        (PRIVATE, {"dp_epsilon": 8.0}, "--dp-epsilon is 8.0, and 4.0 in the run"),
        (PRIVATE, {"dp_side": "clients"}, "--dp-side is clients, and server in the run"),
        ({"strategy": "fedbuff"}, {"strategy": "fedbuff:buffer=3"}, "--strategy is fedbuff:buffer"),
        ({"outer": "nesterov"}, {"outer": "fedadam"}, "--outer is fedadam:.* and nesterov:lr=0.7"),
        ({"client_batch": 32}, {"batch": 8}, "--batch is 8, and 64 in the run"),
    ],
)
def test_what_a_run_has_not_is_told_beside_what_it_has(before, said, told):
    with pytest.raises(UsageError, match=told):
        check(before, **said)
