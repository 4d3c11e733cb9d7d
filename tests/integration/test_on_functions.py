"""Whole runs on functions behind URLs, bit for bit what the embedded platform comes to."""

import contextlib

import pytest

import disdel
from disdel.settings import Settings
from tests.support.functions import SERVERS, served

pytestmark = pytest.mark.framework
OPTIONS = {"epochs": 2, "workers": 2, "runtime": "torch", "seed": 3}


def trained(folder, *urls):
    """The bytes of the model of a training."""
    settings = Settings(
        run_dir=folder,
        platform="http" if urls else "embedded",
        platform_options=tuple(f"url={url}" for url in urls),
    )
    run = disdel.train("digits", **OPTIONS, settings=settings)
    assert (run.report.status, run.report.totals.failed) == ("ok", 0)
    return run.model_path.read_bytes()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("embedded"))


@pytest.mark.parametrize("server", SERVERS)
def test_a_training_on_two_instances(tmp_path, embedded, server):
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(served(server, tmp_path / f"{n}")) for n in range(2)]
        assert trained(tmp_path / "runs", *(each.url for each in both)) == embedded
        assert not [child for each in both for child in each.children()]
