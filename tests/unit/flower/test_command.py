"""What `disdel flower` refuses where there is nothing to run."""

import importlib.util

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.errors import UsageError


def refusal(*arguments):
    result = CliRunner().invoke(app, ["flower", *map(str, arguments)])
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert "name the folder of a Flower app" in refusal(tmp_path / "gone")


def test_without_flower_it_says_what_to_install(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "flwr" else find_spec(name, *a),
    )
    assert "pip install 'disdel[flower]'" in refusal(tmp_path, "--run-dir", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flag", ["--estimator", "--gpu-memory", "--data-dir", "--optimize"])
def test_what_is_for_trainings_is_no_option(flag):
    assert flag not in CliRunner().invoke(app, ["flower", "--help"]).output
