"""Flower apps as they lie in folders, whole and broken."""

import io
import zipfile
from pathlib import Path

import pytest

from disdel.errors import UsageError
from disdel.flower.app import read_app

PROJECT = """
[project]
name = "small"
version = "0.1"

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "own:server"
clientapp = "own:client"

[tool.flwr.app.config]
rounds = 3
name = "a b"
nested.rate = 0.5
flag = true
"""
FEDERATIONS = """
[tool.flwr.federations]
default = "local"

[tool.flwr.federations.local]
options.num-supernodes = 7

[tool.flwr.federations.remote]
address = "127.0.0.1:9093"
"""


@pytest.fixture
def read(tmp_path):
    def make(project=PROJECT, overrides=(), federation=None, nodes=None, **files):
        if project is not None:
            (tmp_path / "pyproject.toml").write_text(project)
        (tmp_path / "own.py").write_text("server = 1\nclient = 2\n")
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.with_suffix("." + path.name.rpartition("_")[2]).write_text(text)
        return read_app(tmp_path, overrides, federation, nodes)

    return make


def test_an_app_is_what_its_project_says(read):
    app = read(data_json="{}", weights_npz="0")
    assert (app.fab_id, app.fab_version) == ("me/small", "0.1")
    assert (app.server_app, app.client_app) == ("own:server", "own:client")
    assert app.run_config == {"rounds": 3, "name": "a b", "nested.rate": 0.5, "flag": True}
    assert app.nodes == 2
    with zipfile.ZipFile(io.BytesIO(app.files)) as archive:
        names = {Path(name).name for name in archive.namelist()}
    # What Flower takes along, and nothing else.
    assert {"own.py", "pyproject.toml"} <= names
    assert not any(name.endswith(".npz") for name in names)


@pytest.mark.parametrize(
    "overrides", [("rounds=5 name='c d'",), ("rounds=5", 'name="c d"'), ("rounds=5 name='c d' ",)]
)
def test_overrides_are_flowers(read, overrides):
    app = read(overrides=overrides)
    assert app.overrides == {"rounds": 5, "name": "c d"}
    assert app.run_config["rounds"] == 5
    assert app.run_config["flag"] is True


def test_overrides_may_be_a_file(read, tmp_path):
    file = tmp_path / "over.toml"
    file.write_text("rounds = 9\n[nested]\nrate = 0.25\n")
    assert read(overrides=(str(file),)).run_config["nested.rate"] == 0.25


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("round=5",), "'round', and .* has rounds, name, nested.rate, flag"),
        (("rounds=",), "KEY=VALUE"),
        (("name=c",), "cannot be read"),
        (("nonsense",), "KEY=VALUE"),
        (("gone.toml",), "cannot be read"),
    ],
)
def test_overrides_that_say_nothing_of_it_are_refused(read, overrides, said):
    with pytest.raises(UsageError, match=said):
        read(overrides=overrides)


@pytest.mark.parametrize(
    ("federation", "said", "nodes"), [(None, None, 7), ("local", None, 7), (None, 4, 4)]
)
def test_how_many_nodes_there_are(read, federation, said, nodes):
    assert read(PROJECT + FEDERATIONS, federation=federation, nodes=said).nodes == nodes


@pytest.mark.parametrize(
    ("federation", "said"),
    [("other", "no 'other', but local, remote"), ("remote", "no options.num-supernodes")],
)
def test_a_federation_without_nodes_is_refused(read, federation, said):
    with pytest.raises(UsageError, match=said):
        read(PROJECT + FEDERATIONS, federation=federation)


@pytest.mark.parametrize(
    ("project", "said"),
    [
        (None, "pyproject.toml"),
        ("[project", "no Flower app"),
        ("[project]\nname = 'x'\n", r"tool.flwr.app"),
        (PROJECT.replace('clientapp = "own:client"', ""), "clientapp"),
        (PROJECT.replace("own:client", "own:gone"), "gone"),
        (PROJECT.replace("own:client", "gone:client"), "gone"),
        (PROJECT.replace("rounds = 3", "rounds = [1]"), "rounds"),
    ],
)
def test_what_flower_would_not_run_is_refused(read, project, said):
    with pytest.raises(UsageError, match=said):
        read(project)
