"""A compiler that starts with the command: when there is one, and who is given it."""

from dataclasses import replace

import pytest

from disdel import compiler
from disdel.compiler import CompileJob, compile_program, starting
from disdel.controller.planning import compiler_ahead as ahead
from disdel.host.helper import Ended
from disdel.models import built_in
from disdel.settings import Settings
from disdel.strategies.asking import with_whole_strategy
from disdel.types import FederateJob, TrainJob

JOB = TrainJob(dataset="digits", runtime="compiled")
WANTED = CompileJob(
    model=built_in("mlp", input_shape=(4, 4, 1), classes=3),
    input_dtype="uint8",
    batch_size=8,
    optimizer="adam",
    targets=("host",),
)


class Compiler:
    """One that refuses what it is told."""

    def __init__(self):
        self.told, self.is_closed = None, False

    def ended(self, said):
        self.told = said
        return Ended(status=1, stopped=None, stdout="no", stderr="", memory_mb=None, timeout_s=None)

    def close(self):
        self.is_closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture(autouse=True)
def started(tmp_path, monkeypatch):
    """The compilers that are started, instead of processes."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    made = []

    def start(code=None):
        made.append(Compiler())
        return made[-1]

    monkeypatch.setattr(starting, "start_compiler", start)
    monkeypatch.setattr(compiler, "start_compiler", start)
    return made


def refused():
    with pytest.raises(compiler.CompileFailed, match="not compiled: no"):
        compile_program(WANTED)


def test_the_first_network_is_compiled_by_the_one_that_was_started_ahead(started):
    with ahead.compiler_ahead(JOB, Settings()):
        [first] = started
        assert first.told is None
        refused()
        assert '"folder"' in first.told
        refused()
    assert [bool(one.told) for one in started] == [True, True]
    assert all(one.is_closed for one in started)


def test_it_is_closed_where_an_earlier_run_has_compiled_the_network(started, monkeypatch):
    monkeypatch.setattr(compiler, "_program", lambda _: object())
    with ahead.compiler_ahead(JOB, Settings()):
        assert not started[0].is_closed
        compile_program(WANTED)
        assert started[0].is_closed
    assert started[0].told is None


@pytest.mark.parametrize(
    "job",
    [
        TrainJob(dataset="digits"),
        TrainJob(dataset="digits", runtime="torch"),
        TrainJob(dataset="digits", runtime="compiled", model="own.py:network"),
    ],
)
def test_none_is_started_for_a_job_that_may_need_none(started, job):
    with ahead.compiler_ahead(job, Settings()):
        pass
    assert started == []


def test_none_is_started_for_a_job_like_one_whose_network_was_compiled(started):
    ahead.remember_compiled(JOB, Settings())
    with ahead.compiler_ahead(JOB, Settings()):
        pass
    assert started == []
    with ahead.compiler_ahead(
        TrainJob(dataset="digits", runtime="compiled", model="mlp"), Settings()
    ):
        assert len(started) == 1


def test_what_a_federation_decides_later_makes_it_no_other_job(started):
    asked = FederateJob(dataset="digits", clients=9, runtime="compiled", strategy="fedprox:mu=0.1")
    with ahead.compiler_ahead(asked.as_training, Settings()):
        assert len(started) == 1
    whole = with_whole_strategy(asked).as_training
    ahead.remember_compiled(replace(whole, optimizer="sgd"), Settings())
    with ahead.compiler_ahead(asked.as_training, Settings()):
        assert len(started) == 1


def test_a_run_goes_on_where_the_state_directory_takes_no_mark(started, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "file"))
    ahead.remember_compiled(JOB, Settings())
    with ahead.compiler_ahead(JOB, Settings()):
        assert started
