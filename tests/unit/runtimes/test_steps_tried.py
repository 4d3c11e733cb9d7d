"""Steps that are timed while a network is tried out, with a trainer that takes what it is told."""

import time

import numpy as np
import pytest

from disdel.runtimes import steps_tried
from disdel.runtimes.steps_tried import FirstStep


class Clocked:
    """Takes so long for a step, the first one longer, on a clock of its own."""

    def __init__(self, step_s, trace_s):
        self.now_s, self.step_s, self.left_s, self.blocks = 0.0, step_s, trace_s, []

    def train(self, x, y):
        assert x.shape[1:] == (4, 3)
        assert y.shape == x.shape[:2]
        self.now_s += len(x) * self.step_s + self.left_s
        self.left_s = 0.0
        self.blocks.append(len(x))


@pytest.fixture
def tried(monkeypatch):
    def run(step_s, trace_s=0.5):
        trainer = Clocked(step_s, trace_s)
        monkeypatch.setattr(time, "process_time", lambda: trainer.now_s)
        first = FirstStep(trainer, np.zeros((4, 3)), np.zeros(4))
        return trainer, first.followed()

    return run


@pytest.mark.parametrize("step_s", [1e-5, 0.001, 0.02, 0.08, 3.0])
def test_steps_are_told_apart_from_the_first_and_repeated_for_a_moment(tried, step_s):
    trainer, told = tried(step_s)
    assert told.batch_size == 4
    assert told.step_s == pytest.approx(step_s)
    assert told.trace_s == pytest.approx(0.5)
    spent_s = trainer.now_s - 0.5 - 2 * step_s
    assert spent_s <= max(steps_tried._SPENT_S, 1e-9) * 1.01
    assert max(trainer.blocks) <= 32


def test_a_step_takes_some_time_by_a_clock_that_stands_still(tried):
    assert tried(0.0, 0.0)[1].step_s > 0
