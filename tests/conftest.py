"""Fixtures of every layer: a clean environment, a real Redis, a compiled network."""

import itertools
import os
import signal
import tempfile
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from disdel.compiler import compile_program
from disdel.store.private_redis import PrivateRedis
from openwhisk_local.machine.scratch import Scratch, sweep
from tests.support import object_servers
from tests.support.compiled import JOB

# No test has a time limit of its own: machines differ, and are shared. What a test is tried with is
# the same in every run, so that a change fails by what it does alone; `--hypothesis-profile=search`
# tries others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("disdel", settings.get_profile("search"), derandomize=True)
settings.load_profile("disdel")


# Variables that are for tests, which say so where they skip.
_OF_TESTS = ("DISDEL_ARM64_PYTHON", "DISDEL_TEST_DATA", "DISDEL_UPSTREAM_")
_TEMPORARY = "disdel-tests-"


def pytest_configure(config):
    """Whoever has started the tests, and from where, makes no difference to what they start."""
    for name in set(os.environ):
        if name.startswith(("AWS_", "DISDEL_", "TFDS_")) and not name.startswith(_OF_TESTS):
            del os.environ[name]
    for number in (signal.SIGINT, signal.SIGHUP):
        # As `nohup` has it, or `&` in a script. What is ignored here is ignored in all processes
        # that tests start; what is handled is not.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    # Frameworks, executors and servers that are killed leave temporary files. What pytest keeps of
    # failed tests stays where it has it.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    sweep(_TEMPORARY)
    temporary = Scratch(_TEMPORARY)
    config.add_cleanup(temporary.close)
    # Other users' processes go through it.
    temporary.path.chmod(0o711)
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary.path), None


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """Where each test has its home, and the number of the next one."""
    return tmp_path_factory.mktemp("homes"), itertools.count()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, homes):
    """What a test leaves, no other finds."""
    folder, numbers = homes
    home = folder / str(next(numbers))
    home.mkdir()
    monkeypatch.setenv("WSK_CONFIG_FILE", str(home / "wskprops"))
    monkeypatch.setenv("DISDEL_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("DISDEL_DATA_DIR", str(home / "data"))
    # Actions that run in this process leave theirs there.
    with mock.patch.dict(os.environ):
        yield


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
