"""What tests of data sets have in common."""

import pytest

from disdel.data import importing, loading
from disdel.data.tfds import process
from disdel.data.tfds.tasks import Decode, Write
from tests.support.csv_tables import Table

_CARRIED_OUT = {Write: process.write, Decode: process.decode}


@pytest.fixture
def tfds_here(monkeypatch):
    """TFDS writes and reads in this process, which imports it once for all tests."""
    for user in (importing, loading):
        monkeypatch.setattr(user, "run_tfds", lambda task, _: _CARRIED_OUT[type(task)](task))


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)
