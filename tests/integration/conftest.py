"""What the integration tests share."""

import pytest


@pytest.fixture(scope="session")
def reader_home(tmp_path_factory):
    """A reader's home, with the data sets and compiled networks of the pages that he has read."""
    return tmp_path_factory.mktemp("home")
