"""What the integration tests share."""

import os
import shutil
from pathlib import Path

import pytest

from disdel.data import load_arrays
from tests.support.federations import federated, model


@pytest.fixture(scope="session")
def reader_home(tmp_path_factory):
    """A reader's home, with the data sets and compiled networks of the pages that he has read."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A data directory in which `digits` is ready."""
    folder = tmp_path_factory.mktemp("digits")
    load_arrays("digits", folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, digits):
    """What a federation comes to in one container: its report, and all bits of the weights."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISDEL_DATA_DIR", str(digits))
        patch.setenv("DISDEL_STATE_DIR", str(folder / "state"))
        report = federated(folder / "federation", "--containers", "1")
    return report, model(report, folder / "federation")


@pytest.fixture(autouse=True)
def _digits_are_ready(clean_environment, digits):
    """Commands need not import scikit-learn for them, which takes longer than what many do."""
    shutil.copytree(digits, Path(os.environ["DISDEL_DATA_DIR"]))
