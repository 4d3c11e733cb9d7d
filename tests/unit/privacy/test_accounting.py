"""ε of rounds, against published values and the rules that any accounting keeps."""

import math

import pytest

from disdel.errors import UsageError
from disdel.privacy.accounting import (
    NoisyRound,
    epsilon_of,
    local_noise,
    noise_for,
)


def rounds(noise, sampling, number=1000, available=10_000, cohort=100):
    return [NoisyRound(noise=noise, sampling=sampling, available=available, cohort=cohort)] * number


# Of 10,000 clients 100 a round, 1,000 rounds, δ=1e-5.
@pytest.mark.parametrize(
    ("noise", "poisson", "tighter", "fixed", "unsampled"),
    [
        (1, 2.101367, 1.828244, 20.987072, 654.861),
        (2, 0.686185, 0.622049, 3.576111, 198.536),
        (4, 0.301161, 0.272173, 1.445298, 67.424),
    ],
)
def test_epsilon_of_a_thousand_rounds(noise, poisson, tighter, fixed, unsampled):
    assert epsilon_of(rounds(noise, "poisson"), 1e-5) == pytest.approx(poisson, abs=1e-6)
    assert epsilon_of(rounds(noise, "poisson"), 1e-5, "pld") == pytest.approx(tighter, abs=1e-6)
    assert epsilon_of(rounds(noise, "all"), 1e-5) == pytest.approx(unsampled, abs=1e-3)
    # One client in another's place moves the sum by up to 2 C.
    assert epsilon_of(rounds(noise, "fixed"), 1e-5) == pytest.approx(fixed, abs=1e-6)


def test_epsilon_grows_with_rounds_and_goes_on_from_those_before():
    grown = [epsilon_of(rounds(1, "poisson", number), 1e-5) for number in (0, 1, 10, 11, 1000)]
    assert grown[0] == 0
    assert grown == sorted(set(grown))
    before, after = rounds(1, "poisson", 400), rounds(1, "poisson", 600)
    assert epsilon_of([*before, *after], 1e-5) == epsilon_of(rounds(1, "poisson"), 1e-5)


def test_epsilon_counts_each_round_by_the_clients_that_it_was_drawn_from():
    """Where half the clients are away, the others are as likely again to be drawn."""
    away = rounds(1, "poisson", 500, available=5_000) + rounds(1, "poisson", 500)
    assert epsilon_of(away, 1e-5) > 1.2 * epsilon_of(rounds(1, "poisson"), 1e-5)
    assert epsilon_of(rounds(1, "poisson", available=100), 1e-5) == pytest.approx(
        epsilon_of(rounds(1, "all"), 1e-5)
    )
    assert epsilon_of(rounds(2, "fixed", available=100), 1e-5) == pytest.approx(
        epsilon_of(rounds(1, "all"), 1e-5)
    )


def test_a_round_without_noise_has_no_bound():
    assert math.isinf(epsilon_of([*rounds(1, "all", 3), *rounds(0, "all", 1)], 1e-5))


@pytest.mark.parametrize(("sampling", "epsilon"), [("poisson", 0.5), ("fixed", 8), ("all", 8)])
def test_the_noise_for_a_budget_keeps_it_and_is_the_least_that_does(sampling, epsilon):
    any_round = rounds(0, sampling)[0]
    noise = noise_for(any_round, 200, epsilon, 1e-5)
    assert epsilon_of(rounds(noise, sampling, 200), 1e-5) <= epsilon
    assert epsilon_of(rounds(noise - 1e-3, sampling, 200), 1e-5) > epsilon


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(UsageError, match="cannot be kept over 1000 rounds"):
        noise_for(rounds(0, "all")[0], 1000, 1e-9, 1e-5)


def test_the_tighter_accountant_knows_no_cohorts_of_fixed_size():
    with pytest.raises(UsageError, match="--select poisson"):
        epsilon_of(rounds(1, "fixed"), 1e-5, "pld")


def test_rounds_of_two_samplings_have_no_epsilon_together():
    with pytest.raises(UsageError, match="fixed, poisson"):
        epsilon_of(rounds(1, "fixed", 1) + rounds(1, "poisson", 1), 1e-5)


@pytest.mark.parametrize("cohort", [0, 11])
def test_a_cohort_is_of_those_available(cohort):
    with pytest.raises(UsageError, match=f"{cohort} cannot be chosen from 10"):
        rounds(1, "fixed", available=10, cohort=cohort)


def test_noise_of_one_value_by_itself():
    assert local_noise(1, 1, 1e-5) == pytest.approx(4.844805, abs=1e-6)
    assert local_noise(0.5, 0.1, 1e-5) == pytest.approx(24.224025, abs=1e-5)
    with pytest.raises(UsageError, match="at most 1"):
        local_noise(1, 2, 1e-5)
