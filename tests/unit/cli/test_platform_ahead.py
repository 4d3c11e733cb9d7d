"""Commands begin what takes longest before they import what does the work."""

from contextlib import contextmanager, nullcontext

import pytest
from typer.testing import CliRunner

from disdel import jobs
from disdel.cli import beginning
from disdel.cli.app import app
from disdel.errors import UsageError
from disdel.platforms import registry
from disdel.platforms.base import Provider

FEDERATE = ("federate", "digits", "--clients", "9")


class Slow(Provider):
    """A platform that is begun ahead; nobody gets to open it."""

    name = "slow"

    def __init__(self):
        self.begun = []
        self.ended = 0

    @contextmanager
    def ahead(self, settings, image=None):
        self.begun.append(image)
        try:
            yield self
        finally:
            self.ended += 1

    def open(self, settings, tell=None):
        raise NotImplementedError


@pytest.fixture
def slow():
    provider = Slow()
    registry.register(provider)
    yield provider
    registry.forget(provider)


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        ((), None),
        (("--runtime", "tensorflow"), "disdel/runtime-tensorflow"),
        (("--runtime", "compiled"), None),
    ],
)
@pytest.mark.parametrize(
    ("name", "runs"), [(("train", "digits"), "run_train"), (FEDERATE, "run_federate")]
)
def test_the_platform_is_begun_and_told_of_the_image(slow, monkeypatch, name, runs, asked, image):
    given = []

    def run(job, settings, listener, *, resumed=None, provider=None):
        given.append(provider)
        assert not slow.ended
        raise UsageError("as far as that")

    monkeypatch.setattr(jobs, runs, run)
    monkeypatch.setattr(beginning, "compiler_ahead", lambda job, settings: nullcontext())
    command = [*name, "--platform", "slow", "--quiet", *asked]
    with pytest.raises(UsageError, match="as far as that"):
        CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    assert given == [slow]
    [told] = slow.begun
    assert told is None if image is None else told.startswith(image)
    assert slow.ended == 1


def test_an_inference_begins_its_platform_too(slow, monkeypatch):
    given = []

    def run_infer(job, settings, listener, *, table=None, provider=None):
        given.append(provider)
        assert not slow.ended
        raise UsageError("as far as that")

    monkeypatch.setattr(jobs, "run_infer", run_infer)
    command = ["infer", "digits", "--platform", "slow", "--quiet"]
    with pytest.raises(UsageError, match="as far as that"):
        CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    assert given == [slow]
    assert (slow.begun, slow.ended) == ([None], 1)


def test_nothing_begins_where_two_files_are_one(slow, tmp_path):
    one = str(tmp_path / "one.json")
    command = ["infer", "digits", "--platform", "slow", "--json", one, "--predictions", one]
    with pytest.raises(UsageError):
        CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    assert slow.begun == []
