"""Differential privacy of a federation: its refusals, its noise, and ε round by round."""

import asyncio
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from disdel.controller.federating.privacy import (
    DifferentialPrivacy,
    check_privacy,
    check_weights,
)
from disdel.controller.training.observers import DoneRound
from disdel.errors import StrategyFailed, UsageError
from disdel.strategies.fedavg import FedAvg
from disdel.types import FederateJob, RoundReport
from disdel.types.privacy import Privacy


def federation(*, clients=1000, cohort=100, select="poisson", rounds=10, least=None, **privacy):
    return FederateJob(
        dataset="digits",
        clients=clients,
        clients_per_round=cohort,
        min_clients=least,
        select=select,
        rounds=rounds,
        average="equal",
        privacy=Privacy(**{"clip": 1.0, "noise": 1.0, **privacy}),
    )


def run(job, rounds, before=()):
    """The reports of further rounds, and why there are no more of them."""
    privacy, reports = DifferentialPrivacy(job, lambda _: job.clients, before), list(before)
    for number in range(len(before) + 1, rounds + 1):
        if privacy.reason_to_stop():
            break
        report = RoundReport(
            round=number, wall_s=0, train_loss=0, privacy=privacy.report(number, 0.0)
        )
        done = DoneRound(
            report=report, reports=(*reports, report), ledger=(), activations=(), before=()
        )
        asyncio.run(privacy.round_done(done))
        reports.append(report)
    return reports, privacy.reason_to_stop()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"noise": 1.0}, "--dp-noise is about differential privacy, which needs --dp-clip"),
        ({"epsilon": 1.0}, "--dp-epsilon is about"),
        ({"delta": 1e-6}, "--dp-delta is about"),
        ({"adaptive": True}, "--dp-adaptive is about"),
        ({"side": "clients"}, "--dp-side is about"),
        ({"accountant": "pld"}, "--dp-accountant is about"),
        ({"noise_seed": 1}, "--dp-seed is about"),
        ({"clip": 1.0}, "--dp-clip by itself hides nobody"),
        ({"clip": 1.0, "noise": 1.0, "quantile": 0.9}, "--dp-quantile is what --dp-adaptive"),
        ({"clip": 1.0, "noise": 1.0, "adaptive": True, "side": "clients"}, "a fixed bound"),
        ({"clip": 0.0, "noise": 1.0}, "--dp-clip must be above 0"),
        ({"clip": 1.0, "noise": float("inf")}, "--dp-noise must be"),
        ({"threshold": 0.8}, "--threshold is of --secure-aggregation"),
        ({"secure_aggregation": True, "threshold": 0.5}, "--threshold must be above 0.5"),
    ],
)
def test_options_that_would_do_nothing_or_harm_are_refused(options, told):
    with pytest.raises(UsageError, match=told):
        Privacy(**options)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"average": "samples"}, "add --average equal"),
        ({"clients": 100_000}, "--dp-delta 1e-05 must be below 1/100000"),
        ({"over_select": 2.0, "select": "uniform"}, "--over-select lets one client's speed"),
        ({"deadline_s": 5.0}, "--deadline lets one client's speed"),
        ({"balance": "samples"}, "--balance lets one client's speed"),
        ({"over_select": 2.0}, "--over-select is for cohorts of one size"),
    ],
)
def test_rounds_that_have_no_analysis_are_refused(fields, told):
    with pytest.raises(UsageError, match=told):
        replace(federation(), **fields)


@pytest.mark.parametrize("cohort", [1, 2])
def test_a_secure_sum_of_so_few_is_refused(cohort):
    with pytest.raises(UsageError, match="at least 3 clients"):
        FederateJob(
            dataset="digits",
            clients=10,
            clients_per_round=cohort,
            privacy=Privacy(secure_aggregation=True),
        )


def test_epsilon_grows_by_round_and_goes_on_after_a_resume():
    whole, _ = run(federation(), 6)
    spent = [report.privacy.epsilon for report in whole]
    assert spent == sorted(set(spent))
    resumed, _ = run(federation(), 6, before=whole[:3])
    assert [report.privacy.epsilon for report in resumed] == spent


@pytest.mark.parametrize("select", ["poisson", "uniform"])
def test_the_noise_for_a_budget_lasts_for_the_rounds_asked_for_and_not_for_more(select):
    job = federation(select=select, epsilon=3.0, noise=None)
    reports, why = run(job, 10)
    assert len(reports) == 10
    assert 2.9 < reports[-1].privacy.epsilon <= 3.0
    assert "--dp-epsilon is 3" in why
    # More rounds keep the noise that was chosen, and the budget.
    more, why = run(replace(job, rounds=20), 20, before=reports)
    assert len(more) == 10
    assert "another round would cost" in why


def test_a_run_stops_before_its_budget_is_spent():
    reports, why = run(federation(epsilon=3.5), 100)
    assert reports[-1].privacy.epsilon <= 3.5
    assert 1 <= len(reports) < 100
    assert "--dp-epsilon is 3.5" in why


def test_a_budget_that_the_first_round_breaks_is_refused():
    with pytest.raises(UsageError, match="the first round alone"):
        DifferentialPrivacy(federation(epsilon=0.01), lambda _: 1000, ())


@pytest.mark.parametrize(
    ("select", "cohort", "sampling", "relation"),
    [
        ("poisson", 100, "poisson", "adding or removing"),
        ("uniform", 100, "fixed", "replacing"),
        ("uniform", 1000, "all", "adding or removing"),
    ],
)
def test_the_relation_is_that_of_the_sampling(select, cohort, sampling, relation):
    privacy = DifferentialPrivacy(federation(select=select, cohort=cohort), lambda _: 1000, ())
    report = privacy.report(1, 0.0)
    assert report.sampling == sampling
    assert relation in report.relation
    assert relation in privacy.told()


def test_clients_without_samples_are_not_drawn_from():
    """The chance of a cohort is that among those who may be asked."""
    few = DifferentialPrivacy(federation(), lambda _: 200, ()).report(1, 0.0)
    many = DifferentialPrivacy(federation(), lambda _: 1000, ()).report(1, 0.0)
    assert few.clients == 200
    assert few.epsilon > many.epsilon


def test_where_clients_are_away_the_others_are_likelier_to_be_drawn():
    def away(number):
        return 1000 if number % 2 == 0 else 150

    fixed = federation(select="uniform")
    reports = [
        DifferentialPrivacy(fixed, away, ()).report(number, 0.0).epsilon for number in (1, 2)
    ]
    assert reports[0] > 1.2 * reports[1]
    # Each by itself: whoever is away, the chance is the same.
    one, two = (DifferentialPrivacy(federation(), away, ()).report(n, 0.0) for n in (1, 2))
    assert one == two
    # The next round's cost is that of those who will be there.
    with pytest.raises(UsageError, match="the first round alone"):
        DifferentialPrivacy(federation(select="uniform", epsilon=1.1 * reports[1]), away, ())


def test_noise_is_added_once_by_whoever_is_to_add_it():
    server = DifferentialPrivacy(federation(clip=0.5, noise=2.0), lambda _: 1000, ())
    assert server.clipping.share == 0
    assert server.added(1).deviation == 1.0
    clients = DifferentialPrivacy(
        federation(clip=0.5, noise=2.0, side="clients", least=64, select="uniform"),
        lambda _: 1000,
        (),
    )
    assert clients.added(1) is None
    # So much that those who must answer have added enough.
    assert clients.clipping.share * 64**0.5 == pytest.approx(1.0)


def test_noise_of_the_clients_shows_their_number_which_poisson_takes_for_a_secret():
    with pytest.raises(UsageError, match="--dp-side clients the size of the noise shows how many"):
        DifferentialPrivacy(federation(side="clients"), lambda _: 1000, ())
    everybody = {"clients": 100, "cohort": 100, "select": "uniform"}
    privacy = DifferentialPrivacy(federation(side="clients", **everybody), lambda _: 100, ())
    assert "for leaving out one client's update, but not its noise;" in privacy.told()
    assert privacy.report(1, 0.0).relation == "leaving out one client's update, but not its noise"
    server = DifferentialPrivacy(federation(**everybody), lambda _: 100, ())
    assert server.report(1, 0.0).relation == "adding or removing one client"


def test_noise_is_new_for_every_sum_unless_a_seed_is_given():
    fresh = DifferentialPrivacy(federation(), lambda _: 1000, ())
    assert fresh.added(1).key != fresh.added(1).key
    seeded = DifferentialPrivacy(federation(noise_seed=7), lambda _: 1000, ())
    assert seeded.added(1) == seeded.added(1)
    assert seeded.added(1) != seeded.added(2)


def test_an_adaptive_bound_takes_its_part_of_the_noise_and_moves():
    privacy = DifferentialPrivacy(federation(adaptive=True, noise_seed=0), lambda _: 1000, ())
    assert privacy.added(1).deviation == pytest.approx(1.005038, abs=1e-6)
    assert privacy.report(1, -50.0).next_clip > 1
    assert privacy.report(1, 50.0).next_clip < 1
    before, _ = run(federation(adaptive=True), 3)
    resumed = DifferentialPrivacy(federation(adaptive=True), lambda _: 1000, before)
    assert resumed.bound == before[-1].privacy.next_clip != 1
    # The count and the sum together cost what the multiplier says.
    assert before[0].privacy.epsilon == run(federation(), 1)[0][0].privacy.epsilon


def test_noise_that_fixed_point_cannot_carry_is_refused():
    privacy = DifferentialPrivacy(federation(clip=1e6, noise=1e6), lambda _: 1000, ())
    privacy.check_units(0, 1000)
    with pytest.raises(UsageError, match="does not fit"):
        privacy.check_units(40, 1000)


def test_a_bound_that_fixed_point_cannot_keep_is_refused_before_anybody_trains():
    privacy = DifferentialPrivacy(federation(clip=1e-6), lambda _: 1000, ())
    privacy.check_units(30, 1000)
    with pytest.raises(UsageError, match="by which fixed point may change that norm"):
        privacy.check_units(20, 1000)


@dataclass(frozen=True)
class SeesEach(FedAvg):
    name = "sees-each"
    sees_each: ClassVar[bool] = True


@dataclass(frozen=True)
class Remembers(FedAvg):
    name = "remembers"
    own: ClassVar = {"c": 0.0}


@dataclass(frozen=True)
class Arrives(FedAvg):
    name = "arrives"
    awaits_all: ClassVar[bool] = False


@dataclass(frozen=True)
class Sums(FedAvg):
    name = "sums"

    def sums(self, contribution):
        return {"c": 1.0}


@pytest.mark.parametrize("kind", [SeesEach, Remembers, Arrives, Sums])
@pytest.mark.parametrize(
    "privacy", [Privacy(clip=1.0, noise=1.0), Privacy(secure_aggregation=True)]
)
def test_strategies_that_need_more_than_the_sum_are_refused(kind, privacy):
    job = replace(federation(), privacy=privacy)
    with pytest.raises(UsageError, match=rf"--strategy {kind.name} .* choose fedavg"):
        check_privacy(job, kind(), lambda _: 1000)
    check_privacy(job, FedAvg(), lambda _: 1000)
    check_privacy(replace(job, privacy=Privacy()), kind(), lambda _: 1000)


def test_weights_above_one_are_refused():
    check_weights(FedAvg(), [1.0, 0.1])
    with pytest.raises(StrategyFailed, match=r"the weight 1\.5"):
        check_weights(FedAvg(), [1.0, 1.5])


def test_a_missing_package_is_told_before_anything_runs_also_where_the_noise_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(UsageError, match=r"pip install 'disdel\[privacy\]'"):
        check_privacy(federation(noise=3.25), FedAvg(), lambda _: 997)


def test_an_accountant_that_does_not_know_the_cohorts_is_refused_before_anything_runs():
    job = federation(select="uniform", accountant="pld")
    with pytest.raises(UsageError, match="choose clients by --select poisson"):
        check_privacy(job, FedAvg(), lambda _: 1000)


@pytest.mark.parametrize("select", ["power-of-choice", "power-of-choice:d=200"])
def test_a_secure_sum_has_no_losses_to_choose_by(select):
    job = replace(federation(), privacy=Privacy(secure_aggregation=True), select=select)
    with pytest.raises(UsageError, match=f"--select {select} chooses by the loss"):
        check_privacy(job, FedAvg(), lambda _: 1000)
    check_privacy(replace(job, select="size"), FedAvg(), lambda _: 1000)


@pytest.mark.parametrize("seed", [None, 7])
def test_a_round_says_whether_its_noise_can_be_made_again(seed):
    [report], _ = run(federation(noise_seed=seed), 1)
    assert report.privacy.seeded == (seed is not None)
