"""The history of containers: what is written comes back, whoever else writes."""

import multiprocessing

import pytest

from disdel.controller.planning import history
from disdel.controller.planning.history import History, history_of
from disdel.controller.planning.networks import Chosen
from disdel.controller.planning.observing import observe, remaining_s, remember
from disdel.controller.planning.planning import ask
from disdel.data import load_arrays
from disdel.models import choose_model
from disdel.planner.observations import Observation
from disdel.planner.plan import make_plan
from disdel.runtimes.registry import TENSORFLOW
from disdel.settings import Settings
from disdel.types import TrainJob
from disdel.types.events import Noted
from tests.support.fake_platform import CAPACITY
from tests.support.planning import activation


def observation(number=0):
    return Observation(
        model="cnn-28x28x1-10",
        batch_size=64,
        shard_samples=number,
        threads=1,
        predicted_mb=100.5,
        working_set_mb=700,
        step_s=0.01,
    )


def test_it_starts_empty_and_keeps_what_is_added(tmp_path):
    kept = History(tmp_path / "deep" / "history.jsonl")
    assert kept.read() == ()
    kept.append([observation(1), observation(2)])
    kept.append([])
    kept.append([observation(3)])
    assert kept.read() == (observation(1), observation(2), observation(3))


def test_lines_of_another_kind_are_left_out(tmp_path):
    kept = History(tmp_path / "history.jsonl")
    kept.path.write_bytes(b'{"model": "cnn"}\n[]\n\xff\xfe\0\nhalf a li')
    assert kept.read() == ()


def test_it_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_LINES", 10)
    kept = History(tmp_path / "history.jsonl")
    for number in range(25):
        kept.append([observation(number)])
    assert len(kept.read()) <= 10
    assert kept.read()[-1] == observation(24)


def _write(path, first):
    for number in range(first, first + 50):
        History(path).append([observation(number)])


def test_writers_do_not_lose_each_others_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    spawning = multiprocessing.get_context("spawn")
    writers = [spawning.Process(target=_write, args=(path, 50 * n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {entry.shard_samples for entry in History(path).read()} == set(range(150))


def test_every_platform_and_image_has_its_own():
    here = history_of(TENSORFLOW, Settings())
    there = Settings(apihost="https://whisk.example", auth="a:b")
    other = Settings(apihost="https://whisk.example", auth="a:b", image_tag="2")
    paths = {history_of(TENSORFLOW, settings).path for settings in (there, other)} | {here.path}
    assert len(paths) == 3
    assert here == history_of(TENSORFLOW, Settings())


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    remember(History(tmp_path / "file" / "history.jsonl"), [observation()], told.append)
    assert [type(event) for event in told] == [Noted]


@pytest.fixture
def question(tmp_path):
    spec = load_arrays("digits", tmp_path).spec
    job = TrainJob(dataset="digits", workers=2)
    return ask(job, spec, Chosen(choose_model("auto", spec)), CAPACITY, Settings())[0]


def test_a_run_becomes_one_observation_a_worker(question):
    _, plan = make_plan([question])
    ran = [
        activation(worker=worker, working_set_mb=600 + worker, train_s=0.5, steps=100)
        for worker in (0, 1, 0)
    ]
    seen = observe(question, plan, ran, 9.0)
    assert [entry.working_set_mb for entry in seen] == [600, 601]
    assert {entry.model for entry in seen} == {"cnn-8x8x1-10"}
    assert [entry.step_s for entry in seen] == [pytest.approx(0.005)] * 2
    # The prediction that it is compared with is the estimate without framework and margin.
    parts = plan.estimate
    assert seen[0].predicted_mb * 2**20 == parts.data + parts.model + parts.step


def test_what_is_left_follows_the_last_round():
    ran = [
        activation(round=1, train_s=9.0, steps=10, start="cold"),
        activation(round=2, worker=0, train_s=1.0, steps=10),
        activation(round=2, worker=1, train_s=1.5, steps=5),
        activation(round=2, worker=1, segment=1, train_s=1.5, steps=5),
        activation(round=2, task="score", duration_ms=400),
        activation(round=2, task="collect", worker=None, duration_ms=300, init_ms=200),
    ]
    assert remaining_s(ran, done=2, rounds=4) == pytest.approx(2 * (3.0 + 0.4 + 0.1))
    assert remaining_s(ran, done=4, rounds=4) == 0
