"""What strategies come to, by hand and by values that other implementations publish."""

import numpy as np
import pytest

from disdel import strategies as st
from disdel.strategies.aggregation import weighted_mean
from disdel.strategies.base import Block, ClientBlock, Contribution, mean_change
from disdel.strategies.krum import nearest


def numbers(*values):
    return np.array(values, np.float64)


def contribution(client=0, **fields):
    return Contribution(**({"client": client, "steps": 1, "samples": 1, "loss": 0.0} | fields))


def rounds(strategy, changes, start=0.0):
    """The weight after each round whose updates change it so in the mean, from `start`."""
    weight, kept = numbers(start), {name: numbers(strategy.first(name)) for name in strategy.kept}
    found = []
    for change in changes:
        advanced = strategy.advance(Block(weight, weight + change, kept))
        weight, kept = advanced.next, advanced.kept
        found.append(float(weight[0]))
    return found, kept


# Reddi et al. begin v at tau squared; others differ in the last digits.
@pytest.mark.parametrize(
    ("strategy", "changes", "expected"),
    [
        (st.FedAdam(lr=0.1), (0.5, 0.5), (0.098020190, 0.230811869)),
        (st.FedYogi(lr=0.01), (0.5, 0.25), (0.009802000, 0.022101984)),
        # .1 of the mean of .2 and 1.
        (st.FedAdagrad(lr=0.1, tau=0.5), (0.5,), (0.1 * 0.5 / (np.sqrt(0.25 + 0.25) + 0.5),)),
        (st.FedAvgM(), (1.0, 1.0), (1.0, 2.9)),
        # PyTorch's SGD with nesterov: v = 1, 1.9; steps 1.9 and 1 + .9 · 1.9, times .7.
        (st.Nesterov(), (1.0, 1.0), (0.7 * 1.9, 0.7 * (1.9 + 2.71))),
        (st.FedAvgM(momentum=0.0), (0.5, -0.25), (0.5, 0.25)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_servers_optimizers(strategy, changes, expected):
    assert rounds(strategy, changes)[0] == pytest.approx(expected, abs=5e-10)


def test_fedadagrad_as_flower_publishes_it_but_for_where_v_begins():
    # Replies of .2 and 1.0 change w = .1 by .5 in the mean.
    found, kept = rounds(st.FedAdagrad(lr=0.1, tau=0.5), [0.5], start=0.1)
    assert found[0] == pytest.approx(0.141421, abs=1e-6)
    v0 = st.FedAdagrad(lr=0.1, tau=0.5).advance(
        Block(numbers(0.1), numbers(0.6), {"m": numbers(0), "v": numbers(0)})
    )
    assert v0.next[0] == pytest.approx(0.15)
    assert kept["v"][0] == pytest.approx(0.5)


def test_the_second_moment_is_that_of_the_changes():
    """And not of the first moment, which a change of 1 would bring to .1."""
    strategy = st.FedAdam(beta_2=0.99)
    advanced = strategy.advance(Block(numbers(0), numbers(1), {"m": numbers(0), "v": numbers(0)}))
    assert advanced.kept["v"][0] == pytest.approx(0.01)


def test_fedavgm_adds_up_whole_changes():
    assert rounds(st.FedAvgM(momentum=0.9), [1.0])[1]["momentum"][0] == 1
    assert rounds(st.FedAvgM(momentum=0.9), [1.0, 1.0])[1]["momentum"][0] == pytest.approx(1.9)


@pytest.mark.parametrize(("average", "expected"), [("samples", 30), ("equal", 1), ("epochs", 2.5)])
def test_what_an_update_weighs(average, expected):
    one = contribution(samples=30, epochs=2.5)
    assert st.FedAvg(average=average).weight(one) == expected


def test_a_mean_is_over_those_who_are_there():
    """Whatever their share of all clients: seven of ten that return 1 come to 1, and so do six."""
    for count in (7, 6):
        assert weighted_mean([np.ones(2, np.float32)] * count, [3.0] * count).tolist() == [1, 1]
    assert weighted_mean([numbers(0), numbers(4)], [1, 3])[0] == 3
    # Of batch normalisation's statistics, too: variances are averaged, not pooled.
    assert weighted_mean([np.float32([0]), np.float32([4])], [10, 30])[0] == 3
    assert weighted_mean([np.float32([1]), np.float32([1])], [10, 30])[0] == 1
    # A mean of rounded changes would lose the 1.
    assert weighted_mean([np.float32([v]) for v in (1e8, 1, -1e8)], [1, 1, 1])[0] == np.float32(
        1 / 3
    )


TARGETS = (1.0, -1.0)
RATE = 0.1


def quadratic_steps(weight, target, steps, correction=0.0):
    """Gradient descent on (x - target)² / 2."""
    for _ in range(steps):
        weight -= RATE * (weight - target + correction)
    return weight


def two_quadratics(strategy, shares=(1, 1), steps=(1, 4), epochs=(1, 1)):
    """A round of two clients; its block, and their contributions."""
    locals_ = [quadratic_steps(0.0, b, k) for b, k in zip(TARGETS, steps, strict=True)]
    assert steps != (1, 4) or locals_ == pytest.approx([0.1, -0.3439])
    done = [
        contribution(i, steps=k, samples=n * e, epochs=e, rate=RATE)
        for i, (k, n, e) in enumerate(zip(steps, shares, epochs, strict=True))
    ]
    weights = [strategy.weight(one) for one in done]
    mean = numbers(np.average(locals_, weights=weights))
    return Block(numbers(0), mean, {}, {}, strategy.numbers(done, 2)), done


# However often the second has seen its samples in its four steps.
@pytest.mark.parametrize("epochs", [(1, 1), (1, 4), (0.5, 2)])
@pytest.mark.parametrize(
    ("shares", "averaged", "normalised", "tau"),
    [((1, 1), -0.12195, 0.01753125, 2.5), ((1, 3), -0.232925, -0.12831406, 3.25)],
)
def test_fednova_on_two_quadratics(shares, averaged, normalised, tau, epochs):
    block, _ = two_quadratics(st.FedAvg(), shares)
    assert block.mean[0] == pytest.approx(averaged)
    strategy = st.FedNova()
    block, done = two_quadratics(strategy, shares, epochs=epochs)
    assert strategy.advance(block).next[0] == pytest.approx(normalised, abs=1e-8)
    ways = [strategy.way(one) / RATE for one in done]
    assert np.average(ways, weights=shares) == pytest.approx(tau)


def test_fednova_with_equal_steps_is_fedavg():
    strategy = st.FedNova()
    block, _ = two_quadratics(strategy, (1, 3), steps=(3, 3))
    plain, _ = two_quadratics(st.FedAvg(), (1, 3), steps=(3, 3))
    assert strategy.advance(block).next == pytest.approx(plain.mean)


def test_how_far_fednova_takes_steps_to_go():
    strategy = st.FedNova(momentum=0.9)
    ways = [strategy.way(contribution(steps=k, rate=1.0)) for k in (1, 2, 3, 4)]
    assert ways == pytest.approx([1, 2.9, 5.61, 9.049])
    held = st.FedNova(mu=0.5).way(contribution(steps=3, rate=0.2))
    assert held / 0.2 == pytest.approx(1 + 0.9 + 0.81)
    # Ten samples in batches of four, twice: six steps, not five or twenty.
    assert st.FedNova().way(contribution(steps=6, samples=20, rate=1.0)) == 6


def test_scaffold_on_two_quadratics():
    strategy = st.Scaffold()
    weight, c, own = numbers(0), numbers(0), [numbers(0), numbers(0)]
    expected = [
        (-0.12195, -0.070125, (-1, 0.85975)),
        (-0.1034349413, -0.1183157719, None),
    ]
    for wanted_weight, wanted_c, wanted_own in expected:
        updates, done, kept = [], [], []
        for i, (target, steps) in enumerate(zip(TARGETS, (1, 4), strict=True)):
            after = quadratic_steps(weight[0], target, steps, (c - own[i])[0])
            done.append(contribution(i, steps=steps, rate=RATE))
            updates.append(numbers(after))
            block = ClientBlock(weight, updates[-1], {"c": c}, {"c_i": own[i]}, steps * RATE)
            kept.append(strategy.client_keeps(block)["c_i"])
        sums = sum(
            strategy.sums(one)["steps"] * (update - weight)
            for one, update in zip(done, updates, strict=True)
        )
        block = Block(
            weight, sum(updates) / 2, {"c": c}, {"steps": sums}, strategy.numbers(done, 2)
        )
        advanced = strategy.advance(block)
        # The server's c is the mean of all clients' while all take part.
        assert advanced.kept["c"] == pytest.approx(sum(kept) / 2)
        weight, c, own = advanced.next, advanced.kept["c"], kept
        assert (weight[0], c[0]) == pytest.approx((wanted_weight, wanted_c), abs=1e-9)
        if wanted_own is not None:
            assert [float(one[0]) for one in own] == pytest.approx(wanted_own)


@pytest.mark.parametrize(
    ("clients", "cohort", "before", "moved", "after"),
    [(10, 2, 0.0, 1.0, 0.2), (100, 5, 2.0, 0.5, 2.025)],
)
def test_scaffolds_server_moves_by_a_share_of_all_clients(clients, cohort, before, moved, after):
    strategy = st.Scaffold()
    done = [contribution(i, rate=1.0) for i in range(cohort)]
    # Each client's c_i changes by -c - change.
    sums = cohort * numbers(-before - moved)
    block = Block(
        numbers(0),
        numbers(0),
        {"c": numbers(before)},
        {"steps": sums},
        strategy.numbers(done, clients),
    )
    assert strategy.advance(block).kept["c"][0] == pytest.approx(after)


def test_scaffold_of_all_clients_with_one_step_is_sgd():
    """The corrections cancel in the mean, whatever they are."""
    c, own = numbers(0.3), [numbers(0.8), numbers(-0.2)]
    updates = [
        quadratic_steps(0.5, target, 1, (c - mine)[0])
        for target, mine in zip(TARGETS, own, strict=True)
    ]
    gradient = np.mean([0.5 - target for target in TARGETS])
    assert np.mean(updates) == pytest.approx(0.5 - RATE * gradient)


def combined(strategy, *rows, weights=None, geometry=None):
    changes = np.array(rows, np.float64)
    weights = np.ones(len(rows)) if weights is None else np.array(weights, np.float64)
    return strategy.combine(changes, weights, geometry)


def test_the_median_and_the_trimmed_mean():
    rows = ([1, 0.2, 0.5, 1], [0.2, 0.5, 1, 0.2], [0.5, 1, 0.2, 0.5])
    assert combined(st.Median(), *rows).tolist() == [0.5, 0.5, 0.5, 0.5]
    trimmed = st.TrimmedMean(beta=0.25)
    assert combined(trimmed, [0.5], [1], [2], [100])[0] == 1.5


def test_krum_chooses_by_the_nearest_others():
    places = np.array([0.2, 0.5, 1.0])
    distances = (places[:, None] - places) ** 2
    # Multi-Krum of two, by one nearest other each.
    chosen = nearest(distances, 1, 2)
    assert places[chosen].mean() == pytest.approx(0.35)
    equal = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    assert nearest(equal, 1, 1).tolist() == [0]


def test_staleness():
    found = [st.FedBuff().freshness(contribution(staleness=s)) for s in range(5)]
    assert found == pytest.approx([1, 0.707107, 0.577350, 0.5, 0.447214], abs=1e-6)
    hinge = st.FedAsync(decay="hinge")
    assert [hinge.freshness(contribution(staleness=s)) for s in (4, 6)] == [1, 1 / 21]
    assert st.FedAsync(decay="constant").freshness(contribution(staleness=9)) == 1


def test_the_weight_of_an_update_is_what_it_counts():
    """The ledger has it: of those who all count the same, 1; of one that is mixed in, its share."""
    stale = contribution(staleness=3, samples=40)
    for strategy in (st.Median(), st.TrimmedMean(), st.Krum()):
        assert strategy.weight(stale) == 1
    assert st.MultiKrum().weight(stale) == 40
    assert st.FedBuff().weight(stale) == 20
    assert st.FedAsync(alpha=0.6).weight(stale) == pytest.approx(0.3)


def test_fedasync_mixes_states():
    """A client's state, 1, into the present one, 5: what it began with does not matter."""
    strategy, before, stale = st.FedAsync(alpha=0.6), numbers(5), contribution(staleness=3)
    assert strategy.mixes_states
    mean = before + mean_change(np.array([[1.0 - 5]]), numbers(strategy.weight(stale)))
    advanced = strategy.advance(Block(before, mean, {}, numbers=strategy.numbers([stale], 9)))
    assert advanced.next[0] == pytest.approx(0.7 * 5 + 0.3 * 1)
