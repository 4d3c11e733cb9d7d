"""What activations tell of their containers."""

import dataclasses

import pytest

from disdel.planner.observations import containers
from disdel.types import Phases
from tests.support.planning import activation


def test_a_container_is_the_largest_of_its_activations():
    ran = [
        activation(start="cold", duration_ms=5000, train_s=1.0, steps=12),
        activation(train_s=0.2, steps=20, working_set_mb=610),
        activation(task="score", working_set_mb=620),
        activation(action="collectWeights", worker=None, working_set_mb=900),
    ]
    [container] = containers(ran, block_steps=32)
    assert container.working_set_mb == 620
    assert container.cold_start_s == pytest.approx(4.1)
    # Tracing is in the cold activation's steps, so the warm one counts.
    assert container.step_s == pytest.approx(0.01)
    # Nothing says when the first block ended.
    assert container.trace_s is None


def test_the_first_block_of_a_container_traces():
    phases = Phases(loaded_ms=1000, stepped_ms=1820, computed_ms=3020, stored_ms=3100)
    cold = activation(start="cold", train_s=2.02, steps=152, phases=phases)
    [container] = containers([cold], block_steps=32)
    assert container.step_s == pytest.approx(1.2 / 120)
    assert container.trace_s == pytest.approx(0.82 - 0.32)
    assert container.first_s is None
    [container] = containers([cold, activation(train_s=2.4, steps=120)], block_steps=32)
    assert container.step_s == pytest.approx(3.6 / 240)
    short = dataclasses.replace(cold, steps=32)
    [container] = containers([short], block_steps=32)
    # It may have traced, or taken steps, all of that time.
    assert (container.step_s, container.trace_s) == (None, None)
    assert (container.first_s, container.first_steps) == (pytest.approx(0.82), 32)


def test_a_container_that_was_killed_wanted_more_than_its_limit():
    ran = [
        activation(outcome="oom", working_set_mb=None, peak_mb=None, memory_mb=704),
        activation(action="train-1056", memory_mb=1056, working_set_mb=650),
    ]
    assert containers(ran, block_steps=32)[0].working_set_mb == 704
    assert containers(ran[:1], block_steps=32) == []
