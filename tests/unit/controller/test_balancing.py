"""Work by speed: FLoX's four kinds of devices, without the hands of its authors."""

import numpy as np
import pytest

from disdel.controller.federating.balancing import MOST_TIMES, Balancing
from disdel.controller.federating.speeds import Speeds
from disdel.protocol import client_messages

# By kind of device, what a sample of a step takes.
SAMPLE_S = (0.02, 0.01, 0.005, 0.001)
BATCH = 10


def turn(client, steps):
    return client_messages.ClientTurn(
        client=client, shard_key=None, start_step=0, stop_step=steps, batch_size=BATCH, weight=1.0
    )


def result(client, steps, *, sample_s, beside_s=0.0, here=None, refused=""):
    train_s = (steps if here is None else here) * BATCH * sample_s
    return client_messages.ClientResult(
        client=client,
        steps=steps,
        samples=steps * BATCH,
        loss_sum=1.0,
        train_s=train_s,
        turn_s=train_s + beside_s,
        steps_here=steps if here is None else here,
        refused=refused,
    )


def balancing(kind, *, sizes=(200,) * 4, epochs=10.0, beside_s=0.0, sample_s=SAMPLE_S):
    speeds = Speeds(len(sizes), BATCH)
    made = Balancing(
        kind,
        speeds,
        np.array(sizes),
        np.full(len(sizes), epochs),
        np.full(len(sizes), float(BATCH)),
    )
    assert [made.share(client, 1).samples for client in range(len(sizes))] == list(sizes)
    assert {made.share(client, 1).epochs for client in range(len(sizes))} == {epochs}
    for client, one_s in enumerate(sample_s):
        speeds.tell(turn(client, 20), result(client, 20, sample_s=one_s, beside_s=beside_s))
    return made, speeds


@pytest.mark.parametrize("beside_s", [0.0, 1.0])
def test_all_take_as_long_for_their_own_numbers_of_epochs(beside_s):
    made, speeds = balancing("epochs", beside_s=beside_s)
    shares = [made.share(client, 2) for client in range(4)]
    # The median of 40, 20, 10 and 2 s for ten epochs of 200 samples is 15 s.
    assert [share.epochs for share in shares] == pytest.approx([3.75, 7.5, 15, 75], rel=1e-3)
    assert {share.samples for share in shares} == {200}
    took_s = [
        speeds.seconds(client, round(20 * share.epochs), BATCH)
        for client, share in enumerate(shares)
    ]
    assert took_s == pytest.approx([15 + beside_s] * 4, rel=1e-3)


def test_who_is_slow_trains_on_fewer_samples_and_nobody_on_more_than_it_has():
    made, _ = balancing("samples")
    shares = [made.share(client, 2) for client in range(4)]
    assert [share.samples for share in shares] == [70, 150, 200, 200]
    assert {share.epochs for share in shares} == {10}


def test_what_is_asked_stays_as_it_is_within_a_round():
    made, speeds = balancing("epochs")
    before = made.share(1, 2)
    speeds.tell(turn(0, 20), result(0, 20, sample_s=5.0))
    assert made.share(1, 2) == before


def test_a_quick_client_of_few_samples_does_not_train_for_ever():
    made, _ = balancing("epochs", sizes=(2000, 2000, 2000, 10))
    assert made.share(3, 2).epochs == MOST_TIMES * 10


@pytest.mark.parametrize("kind", ["samples", "epochs"])
def test_a_client_that_is_too_slow_for_anything_takes_a_step(kind):
    made, _ = balancing(kind, sample_s=(1000.0, 0.01, 0.01, 0.01))
    share = made.share(0, 2)
    assert (share.samples, share.epochs) == ((10, 10) if kind == "samples" else (200, 0.05))


def test_who_has_not_trained_is_taken_to_be_as_the_one_in_the_middle():
    speeds = Speeds(4, BATCH)
    for client, one_s in enumerate((0.01, 0.02, 0.05)):
        speeds.tell(turn(client, 20), result(client, 20, sample_s=one_s, beside_s=client))
    assert speeds.seconds(3, 10, BATCH) == pytest.approx(10 * BATCH * 0.02 + 1)


def test_a_turn_that_another_activation_began_is_measured_by_the_steps_of_this_one():
    speeds = Speeds(1, BATCH)
    speeds.tell(turn(0, 20), result(0, 20, sample_s=0.01, here=5))
    assert speeds.seconds(0, 20, BATCH) == pytest.approx(2)


def test_who_was_refused_has_shown_nothing():
    speeds = Speeds(1, BATCH)
    before = speeds.seconds(0, 20, BATCH)
    speeds.tell(turn(0, 20), result(0, 20, sample_s=9.0, refused="no number"))
    assert speeds.seconds(0, 20, BATCH) == before
