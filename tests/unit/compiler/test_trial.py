"""Steps of a compiled network that are tried out, with trainers on a clock of their own."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from disdel.compiler import trial


@pytest.mark.parametrize(("cpus", "at_once"), [(None, 1), (1, 1), (3, 3), (64, 8)])
def test_a_step_takes_what_it_does_while_all_cpus_take_one(monkeypatch, cpus, at_once):
    spent, lock, trainers = SimpleNamespace(s=0.0), threading.Lock(), []

    class Clocked:
        def __init__(self, folder, *, seed, threads):
            assert (folder, threads) == (Path("program"), 1)
            self.left_s, self.blocks = 0.5, []
            trainers.append(self)

        def train(self, x, y):
            assert x.shape[1:] == (4, 2, 2)
            assert y.shape == x.shape[:2]
            with lock:
                spent.s += 0.01 * len(x) + self.left_s
            self.left_s = 0.0
            self.blocks.append(len(x))

    program = SimpleNamespace(
        batch_size=4, input_shape=(2, 2), input_dtype="uint8", classifies=True
    )
    monkeypatch.setattr(trial, "CompiledTrainer", Clocked)
    monkeypatch.setattr(trial.Program, "read", lambda folder: program)
    monkeypatch.setattr(trial.os, "cpu_count", lambda: cpus)
    monkeypatch.setattr(time, "process_time", lambda: spent.s)
    told = trial.steps_of(Path("program"))
    assert len(trainers) == at_once
    assert len({tuple(one.blocks) for one in trainers}) == 1
    assert told.step_s == pytest.approx(0.01)
    assert told.trace_s == pytest.approx(0.5)
