"""Fixtures of every layer: a clean environment, a real Redis, a compiled network."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings

from disdel.compiler import compile_program
from disdel.store.private_redis import PrivateRedis
from tests.support import object_servers
from tests.support.compiled import JOB

# No test has a time limit of its own: machines differ, and are shared.
settings.register_profile("disdel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("disdel")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """No setting of the person who runs the tests reaches them, and none of theirs is left."""
    for name in ("APIHOST", "ARCH", "AUTH", "REDIS", "RUN_DIR", "STORE"):
        monkeypatch.delenv(f"DISDEL_{name}", raising=False)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WSK_CONFIG_FILE", str(home / "wskprops"))
    monkeypatch.setenv("DISDEL_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("DISDEL_DATA_DIR", str(home / "data"))


@pytest.fixture(scope="session")
def redis_url():
    """A real Redis server for the whole session."""
    with PrivateRedis() as server:
        server.ready()
        yield server.url


@pytest.fixture(scope="session")
def seaweed_endpoint(tmp_path_factory):
    """A real object server for the whole session, that checks what it is asked."""
    with object_servers.seaweed(tmp_path_factory.mktemp("seaweed")) as url:
        yield url


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory):
    """Another."""
    with object_servers.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="session")
def compiled_state_dir(tmp_path_factory):
    """A state directory that keeps what was compiled and packed."""
    pytest.importorskip("iree.compiler")
    return tmp_path_factory.mktemp("compiled-state")


@pytest.fixture
def program_with_terms(compiled_state_dir, monkeypatch):
    """The folder of `JOB` by plain SGD, whose steps add terms to the gradients."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    return compile_program(replace(JOB, optimizer="sgd", adds_terms=True))


@pytest.fixture
def program(compiled_state_dir, monkeypatch):
    """The folder of `JOB`."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    return compile_program(JOB)
