"""What a federation may be asked for, and numbers that differ from client to client."""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.settings import build, declared
from disdel.types import FederateJob
from disdel.types.federation import steps_of_round
from disdel.types.privacy import Privacy


def job(**changes):
    return FederateJob(dataset="digits", **{"clients": 4, **changes})


@pytest.mark.parametrize(
    ("said", "each"),
    [
        (3, [3, 3, 3, 3]),
        ("3", [3, 3, 3, 3]),
        ("1,2,3,0.5", [1, 2, 3, 0.5]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        (np.array([1, 2, 3, 4]), [1, 2, 3, 4]),
        (range(1, 5), [1, 2, 3, 4]),
        (["1", "0.5*2", "2"], [1, 0.5, 0.5, 2]),
        ([1 / 3] * 4, [1 / 3] * 4),
        ([Fraction(1, 2), np.float32(1), 1e-5, 2], [0.5, 1, 1e-5, 2]),
        (np.array(3), [3, 3, 3, 3]),
        ("5*3,10", [5, 5, 5, 10]),
        ("5*4", [5, 5, 5, 5]),
    ],
)
def test_numbers_by_client_or_group(said, each):
    assert job(local_epochs=said).of_clients("local_epochs").tolist() == each


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("1,2", "has numbers for 2 clients, and there are 4"),
        ("5*3,10*2", "has numbers for 5 clients, and there are 4"),
        ("1,,2", "must be a number, a list"),
        ("many", "must be a number, a list"),
        ("1,x,2,3", "must be a number, a list"),
        ("5*0,1", "must be a number, a list"),
        ("1,2,3,nan", "must be a number, a list"),
        ("1,2,3,0", "takes numbers from 1e-06 to 10000, not 0"),
        (-1.0, "takes numbers from 1e-06 to 10000, not -1"),
        (math.nan, "must be a finite number"),
        ([], "must be a number, a list"),
        (["many", 1, 2, 3], "must be a number, a list"),
        ([2], "has numbers for 1 clients, and there are 4"),
        ([1, None, 1, 1], "takes a list of numbers, one for each client, not one of None"),
        ([1, True, 1, 1], "takes a list of numbers, one for each client, not one of True"),
        (np.ones((2, 2)), r"takes a list of numbers, one for each client, not one of \[1.0, 1.0"),
        ([10**400] * 4, "takes numbers from 1e-06 to 10000, not inf"),
        (b"4", "must be a number or a text, not b'4'"),
        ({1: 2}, "must be a number or a text, not {1: 2}"),
    ],
)
def test_what_are_no_numbers_by_client(said, told):
    with pytest.raises(UsageError, match=f"--local-epochs {told}"):
        job(local_epochs=said).of_clients("local_epochs")


def test_batches_and_samples_are_whole():
    with pytest.raises(UsageError, match="--client-batch takes whole numbers from 1 to 65536"):
        job(client_batch="10,10,10,2.5")
    with pytest.raises(UsageError, match="--client-samples takes whole numbers"):
        job(client_samples=0.5)
    with pytest.raises(UsageError, match=r"takes whole numbers of at least 1, not 0$"):
        job(client_samples=0)
    with pytest.raises(UsageError, match=r"takes whole numbers from 1 to 2147483648, not 1e\+12$"):
        job(client_samples=1e12)


@pytest.mark.parametrize(
    "name", ["local_epochs", "client_batch", "client_rate", "client_samples", "client_memory_mb"]
)
def test_a_list_of_another_length_is_refused_as_soon_as_clients_are_known(name):
    wanted = r"for 3 clients, and there are 4: .* VALUE\*COUNT \(5\*10,10\*90 is the value 5 for 10"
    with pytest.raises(UsageError, match=wanted):
        job(**{name: "5,1,2"})
    unknown = job(clients=None, **{name: "5,1,2"})
    assert replace(unknown, clients=3).of_clients(name).tolist() == [5, 1, 2]


def test_a_probability_to_be_there_may_be_a_number():
    assert job(available=0.5).available == "0.5"
    with pytest.raises(UsageError, match="--available must be a text or None, not True"):
        job(available=True)


def test_a_trace_may_be_a_path():
    assert FederateJob(dataset="digits", available=Path("a/trace.csv")).available == "a/trace.csv"


def test_speeds_of_earlier_rounds_need_some():
    with pytest.raises(UsageError, match="--balance samples goes by what clients took in rounds"):
        FederateJob(dataset="digits", balance="samples", rounds=1)


def test_a_number_of_clients_is_told_as_a_whole_one():
    assert repr(job(clients_per_round=3.0).clients_per_round) == "3"


def test_what_says_the_same_twice_is_refused():
    with pytest.raises(UsageError, match="--batch and --client-batch say the same"):
        job(batch_size=10, client_batch="10,20,10,20")
    with pytest.raises(UsageError, match="--learning-rate and --client-rate say the same"):
        job(learning_rate=0.1, client_rate=0.2)


def test_a_default_that_is_said_beside_a_list_by_client_is_refused():
    said = {"dataset": "digits", "batch": 64, "client_batch": "8*10"}
    with pytest.raises(UsageError, match=r"^--batch and --client-batch say the same"):
        build(FederateJob, said)
    assert build(FederateJob, said | {"batch": 32, "client_batch": None}).batch_size == 32


def test_a_plan_counts_with_the_largest():
    planned = job(client_batch="10*3,40", client_rate="0.1,0.2,0.3,0.05").as_training
    assert planned.batch_size == 40
    assert planned.learning_rate == 0.3


@pytest.mark.parametrize(
    ("samples", "batch", "epochs", "steps"),
    [(3, 8, 1, 1), (10, 4, 2, 6), (30, 1, 0.1, 3), (100, 10, 0.5, 5), (1, 1, 1e-6, 1)],
)
def test_steps_of_a_round(samples, batch, epochs, steps):
    assert steps_of_round(samples, batch, epochs) == steps


@pytest.mark.parametrize(
    ("changes", "wanted", "asked", "least"),
    [
        ({}, 4, 4, 4),
        ({"clients_per_round": 2}, 2, 2, 2),
        ({"clients_per_round": 0.5}, 2, 2, 2),
        ({"clients_per_round": 0.2}, 1, 1, 1),
        ({"clients_per_round": 2, "over_select": 1.3}, 2, 3, 2),
        ({"clients_per_round": 3, "over_select": 5}, 3, 4, 3),
        ({"clients_per_round": 3, "min_clients": 1}, 3, 3, 1),
    ],
)
def test_who_is_asked_and_who_must_answer(changes, wanted, asked, least):
    made = job(**changes)
    assert (made.wanted, made.asked, made.least) == (wanted, asked, least)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clients_per_round": 5}, "--clients-per-round 5 is more than --clients 4"),
        ({"clients_per_round": 1.5}, "--clients-per-round 1.5 is neither a whole number nor below"),
        (
            {"clients_per_round": 1e-9},
            "--clients-per-round 1e-09 of 4 clients is none: say how many, from 1",
        ),
        ({"clients_per_round": 2, "min_clients": 3}, "--min-clients 3 is more than the 2 clients"),
        ({"containers": 5}, "--containers 5 is more than the 4 clients"),
        ({"over_select": 0.5}, "--over-select must be"),
        ({"over_select": 1.5}, "a round needs all 4: add --clients-per-round, below 4"),
        ({"deadline_s": 0}, "--deadline must be above 0"),
        ({"late": "weigh"}, "--late weigh is for rounds that end before all have answered: add"),
        ({"late": "keep"}, r"--late must be drop or weigh\[:power=0.5,max_staleness=MAX_STALENESS"),
        ({"late": "drop:1"}, "--late must be drop or weigh"),
        ({"late": "weigh:powr=1"}, r"has no parameter powr \(did you mean power"),
        ({"late": "weigh:power=-1"}, "--late weigh:power=-1: power must be from 0 to 100"),
        (
            {"late": "weigh", "deadline_s": 1, "privacy": Privacy(secure_aggregation=True)},
            "--secure-aggregation masks the updates of one round",
        ),
        ({"late": "weigh", "deadline_s": 1, "balance": "epochs"}, "gives slow clients less to do"),
        ({"optimizer": "best"}, "unknown optimizer 'best'"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        job(**changes)


def test_the_optimizer_that_is_told_as_the_default_is_the_one_that_a_federation_has():
    [option] = [one for one in declared(FederateJob) if one.name == "optimizer"]
    assert option.shown_default == "your model's own, else sgd"
