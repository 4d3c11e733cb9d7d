"""Platforms that the tests of a module, or one test, have for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.embedded import (
    User,
    platform,
)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with platform(tmp_path_factory.mktemp("state"), user_memory_mb=1024) as user:
        yield user


@pytest.fixture
def small(tmp_path: Path) -> Iterator[User]:
    """A platform with upstream's limits and room for two small containers."""
    with platform(tmp_path / "state", limits="stock", user_memory_mb=256) as user:
        yield user
