"""The trial of precisions: by the CPU time of a trainer's own steps."""

import time

import numpy as np
import pytest

from disdel.worker import trial
from openwhisk_local.machine.cpus import has_bfloat16

X, Y = np.zeros((2, 1), np.float32), np.zeros(2, np.int32)


class Busy:
    """Takes so many seconds of CPU a rehearsal in each precision, and more at first."""

    def __init__(self, monkeypatch, spends_s, first_s=0.0):
        self.spends_s, self.first_s, self.asked, self.spent_s = spends_s, first_s, [], 0.0
        monkeypatch.setattr(time, "process_time", lambda: self.spent_s)

    def rehearsal(self, x, y):
        assert (x.shape, y.shape) == (X.shape, Y.shape)
        return self.rehearse

    def rehearse(self, precision):
        first = precision not in self.asked
        self.asked.append(precision)
        self.spent_s += self.spends_s[precision] + first * self.first_s


@pytest.mark.parametrize(
    ("float32_s", "bfloat16_s", "wanted"),
    [(0.02, 0.005, "bfloat16"), (0.005, 0.02, "float32"), (0.02, 0.0195, "float32")],
)
def test_bfloat16_must_be_clearly_faster(monkeypatch, float32_s, bfloat16_s, wanted):
    monkeypatch.setattr(trial, "has_bfloat16", lambda: True)
    trainer = Busy(monkeypatch, {"float32": float32_s, "bfloat16": bfloat16_s})
    assert trial.faster_precision(trainer, X, Y) == wanted


def test_nothing_is_tried_without_the_instructions_or_where_tracing_takes_long(monkeypatch):
    monkeypatch.setattr(trial, "has_bfloat16", lambda: False)
    trainer = Busy(monkeypatch, {"float32": 0.001, "bfloat16": 0.0})
    assert trial.faster_precision(trainer, X, Y) == "float32"
    assert trainer.asked == []
    monkeypatch.setattr(trial, "has_bfloat16", lambda: True)
    monkeypatch.setattr(trial, "_FIRST_STEPS_S", 0.01)
    slow = Busy(monkeypatch, {"float32": 0.001, "bfloat16": 0.0}, first_s=0.02)
    assert trial.faster_precision(slow, X, Y) == "float32"
    assert slow.asked == ["float32"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_bf16x\n", False),
    ],
)
def test_the_processor_says_whether_it_multiplies_in_bfloat16(tmp_path, said, wanted):
    (tmp_path / "cpuinfo").write_text(said)
    assert has_bfloat16(tmp_path / "cpuinfo") is wanted
    assert not has_bfloat16(tmp_path / "none")
