"""The platform under test: the one that `--apihost` and `--auth` name, else an embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from disdel.platforms.openwhisk.access import ApiAccess
from tests.support.openwhisk import OpenWhisk
from tests.support.platforms import embedded


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--apihost", help="URL of the OpenWhisk to test; an embedded one by default")
    group.addoption("--auth", help="its key, uuid:secret")
    group.addoption("--memory-store", action="store_true", help="it has no CouchDB behind it")
    group.addoption("--insecure", action="store_true", help="accept any certificate")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "only_embedded(reason): needs what only a platform of one's own can give"
    )
    config.addinivalue_line("markers", "couchdb(reason): needs what upstream's memory store lacks")


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("only_embedded")
    if marker and item.config.getoption("--apihost", None):
        pytest.skip(marker.args[0])
    marker = item.get_closest_marker("couchdb")
    if marker and item.config.getoption("--memory-store", None):
        pytest.skip(marker.args[0])


@pytest.fixture(scope="session")
def whisk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenWhisk]:
    apihost = request.config.getoption("--apihost", None)
    if apihost is None:
        with embedded(tmp_path_factory.mktemp("conformance"), user_memory_mb=1024) as user:
            yield user
        return
    key = request.config.getoption("--auth") or ""
    insecure = bool(request.config.getoption("--insecure"))
    url = apihost if "://" in apihost else f"https://{apihost}"
    with OpenWhisk(ApiAccess(url, key, insecure), embedded=False) as user:
        yield user
        user.clean_up()


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[OpenWhisk]:
    """A platform for one test, with upstream's limits and room for two small containers."""
    with embedded(tmp_path / "state", limits="stock", user_memory_mb=256) as user:
        yield user
