"""Runs on a platform of this process, a real Redis, and training that is arithmetic."""

import asyncio

import pytest

from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import read_resumed
from disdel.settings import Settings
from disdel.store.redis_store import RedisStore
from disdel.types import TrainJob
from tests.support.arithmetic import Arithmetic
from tests.support.fake_platform import FakePlatform, sessions_of


@pytest.fixture
def arithmetic(redis_url):
    store = RedisStore(redis_url)
    yield Arithmetic(store)
    store.close()


@pytest.fixture
def platform(arithmetic):
    return FakePlatform({"train": arithmetic.train, "collectWeights": arithmetic.collect})


@pytest.fixture
def run(platform, redis_url, monkeypatch, tmp_path, arithmetic):
    """Run a digits job to its end; the report, the events and the run's folder."""

    opened = sessions_of(platform, arithmetic.store, redis_url)
    monkeypatch.setattr(train_module, "open_session", opened)
    events = []
    listeners = [events.append]

    def listen(event):
        for listener in listeners:
            listener(event)

    def start(settings=None, resumed=None, **job):
        settings = settings or Settings(run_dir=tmp_path / "runs")
        if resumed is None:
            wanted = TrainJob(
                **({"dataset": "digits", "workers": 2, "runtime": "tensorflow"} | job)
            )
        else:
            resumed = read_resumed(resumed)
            wanted = resumed.job(**job)
        return asyncio.run(train_module.train(wanted, settings, listen, resumed=resumed))

    start.events = events
    start.listeners = listeners
    start.run_dir = tmp_path / "runs"
    return start
