import os
import platform
import tempfile
from pathlib import Path

import pytest

from disdel import config, home
from disdel.config import ApiAccess
from disdel.errors import UsageError
from disdel.home import make_own


@pytest.fixture
def props(tmp_path):
    path = tmp_path / "wskprops"
    path.write_text("# mine\nAPIHOST=https://whisk.example\nAUTH=uuid:secret\nNAMESPACE=_\n")
    return {"WSK_CONFIG_FILE": str(path)}


def test_nothing_configured_means_the_embedded_platform(tmp_path):
    assert config.api_access(environ={"WSK_CONFIG_FILE": str(tmp_path / "none")}) is None


def test_wskprops_is_read_as_wsk_reads_it(props):
    assert config.api_access(environ=props) == ApiAccess("https://whisk.example", "uuid:secret")


def test_flag_before_environment_before_file(props):
    environ = props | {"DISDEL_APIHOST": "http://one:3233", "DISDEL_AUTH": "a:b"}
    assert config.api_access(environ=environ) == ApiAccess("http://one:3233", "a:b")
    assert config.api_access("http://two/", "c:d", environ=environ) == ApiAccess(
        "http://two", "c:d"
    )


def test_a_host_without_a_scheme_is_https(tmp_path):
    access = config.api_access("whisk.example", environ={"WSK_CONFIG_FILE": str(tmp_path / "none")})
    assert access == ApiAccess("https://whisk.example", "")


def test_the_key_does_not_show_in_a_traceback():
    assert "secret" not in repr(ApiAccess("http://host", "uuid:secret"))


@pytest.mark.parametrize(
    "host",
    [
        "ftp://host",
        "https://",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://sEcret@ho st/x@y",
        "http://host?sEcret=1",
        "http://u:sEc/ret@host",
        "http://" + "a" * 70,
        "h\x00st",
        "h\udcffst",
    ],
)
def test_a_host_that_is_none_is_told_without_a_secret(host, props):
    with pytest.raises(UsageError, match="API host") as refused:
        config.api_access(host, environ=props)
    assert "sEc" not in str(refused.value)


def test_a_key_in_the_url_is_a_key_and_not_shown(tmp_path):
    environ = {"WSK_CONFIG_FILE": str(tmp_path / "none")}
    found = config.api_access("https://u%3A:s%40@host:1/base/", environ=environ)
    assert found == ApiAccess("https://host:1/base", "u::s@")
    assert config.api_access("https://u:s@host", "a:b", environ=environ).auth == "a:b"


@pytest.mark.parametrize("text", [b"APIHOST=\xff", None], ids=["not UTF-8", "a folder"])
def test_props_that_cannot_be_read_are_told(tmp_path, text):
    if text is not None:
        (tmp_path / "props").write_bytes(text)
    environ = {"WSK_CONFIG_FILE": str(tmp_path / "props" if text else tmp_path)}
    with pytest.raises(UsageError, match=r"cannot be read .*WSK_CONFIG_FILE"):
        config.api_access(environ=environ)


@pytest.mark.parametrize(
    ("machine", "own"), [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64")]
)
def test_nodes_are_like_this_machine_unless_something_else_is_said(machine, own, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert config.architectures(environ={}) == [own]
    assert config.architectures(environ={"DISDEL_ARCH": "arm64, amd64"}) == ["arm64", "amd64"]
    assert config.architectures("arm64", environ={"DISDEL_ARCH": "amd64"}) == ["arm64"]


def test_folders(tmp_path):
    environ = {"TFDS_DATA_DIR": "/tfds", "DISDEL_RUN_DIR": "/r", "XDG_STATE_HOME": "/x"}
    assert str(config.data_dir(environ=environ)) == "/tfds"
    assert str(config.data_dir(environ=environ | {"DISDEL_DATA_DIR": "/mine"})) == "/mine"
    assert config.data_dir(tmp_path, environ=environ) == tmp_path
    assert str(config.run_dir(environ=environ)) == "/r"
    assert str(config.state_dir(environ=environ)) == "/x/disdel"
    assert str(config.state_dir(environ={"DISDEL_STATE_DIR": "/s"})) == "/s"


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/"])
def test_the_apis_own_path_may_stand_behind_the_host(path, tmp_path):
    access = config.api_access(
        f"http://whisk.example:3233{path}", environ={"WSK_CONFIG_FILE": str(tmp_path / "none")}
    )
    assert access.apihost == "http://whisk.example:3233"


def test_patience_comes_from_flag_environment_or_default():
    environ = {"DISDEL_PATIENCE_NETWORK": "7.5"}
    assert config.patience_network_s(0, environ) == 0
    assert config.patience_network_s(None, environ) == 7.5
    assert config.patience_network_s(None, {}) == 60


@pytest.mark.parametrize(
    ("flag", "environ", "told"),
    [
        (-1.0, {}, "--patience-network must be a number of seconds from 0 to .*, not -1"),
        (float("nan"), {}, "not nan"),
        (float("inf"), {}, "not inf"),
        (None, {"DISDEL_PATIENCE_NETWORK": "a while"}, "DISDEL_PATIENCE_NETWORK .* not a while"),
    ],
)
def test_patience_is_a_number_of_seconds(flag, environ, told):
    with pytest.raises(UsageError, match=told):
        config.patience_network_s(flag, environ)


def test_a_loose_umask_opens_no_folder_of_the_state(tmp_path):
    before = os.umask(0)
    try:
        make_own(tmp_path / "state" / "trusted-code")
        make_own(tmp_path / "state" / "trusted-code")
    finally:
        os.umask(before)
    for folder in (tmp_path / "state", tmp_path / "state" / "trusted-code"):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_home_in_which_nothing_can_be_made_has_a_stand_in(monkeypatch, tmp_path):
    """Not even the superuser, who is told otherwise."""
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    home._elsewhere.cache_clear()
    for name in ("DISDEL_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert config.state_dir().is_relative_to(tmp_path)
    home._elsewhere.cache_clear()
