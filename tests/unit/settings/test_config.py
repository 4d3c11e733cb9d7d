import os
import platform
import tempfile
from pathlib import Path

import pytest

from disdel.errors import UsageError
from disdel.host import environment, home
from disdel.host.home import make_own
from disdel.platforms.openwhisk.access import ApiAccess, access_of
from disdel.settings import Settings, data_dir, entries, resolve, run_dir


@pytest.fixture(autouse=True)
def environ(monkeypatch, tmp_path):
    """An environment of nothing but what a test sets."""
    for name in [name for name in os.environ if name.startswith(("DISDEL_", "TFDS_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WSK_CONFIG_FILE", str(tmp_path / "none"))
    return lambda **variables: [monkeypatch.setenv(*pair) for pair in variables.items()]


@pytest.fixture
def props(environ, tmp_path):
    path = tmp_path / "wskprops"
    path.write_text("# mine\nAPIHOST=https://whisk.example\nAUTH=uuid:secret\nNAMESPACE=_\n")
    environ(WSK_CONFIG_FILE=str(path))


def test_nothing_configured_means_the_embedded_platform():
    assert access_of(Settings()) is None


@pytest.mark.usefixtures("props")
def test_wskprops_is_read_as_wsk_reads_it():
    assert access_of(Settings()) == ApiAccess("https://whisk.example", "uuid:secret")


@pytest.mark.usefixtures("props")
def test_flag_before_environment_before_file(environ):
    environ(DISDEL_APIHOST="http://one:3233", DISDEL_AUTH="a:b")
    assert access_of(Settings()) == ApiAccess("http://one:3233", "a:b")
    given = resolve(Settings, {"apihost": "http://two/", "auth": "c:d"})
    assert access_of(given) == ApiAccess("http://two", "c:d")


def test_a_host_without_a_scheme_is_https():
    assert access_of(Settings(apihost="whisk.example")) == ApiAccess("https://whisk.example", "")


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
def test_a_host_that_is_none_is_told_without_a_secret(host):
    with pytest.raises(UsageError, match="API host") as refused:
        access_of(Settings(apihost=host))
    assert "sEc" not in str(refused.value)


def test_a_key_in_the_url_is_a_key_and_not_shown():
    found = Settings(apihost="https://u%3A:s%40@host:1/base/")
    assert access_of(found) == ApiAccess("https://host:1/base", "u::s@")
    assert entries(found)["apihost"] == "https://***@host:1/base/"
    assert access_of(Settings(apihost="https://u:s@host", auth="a:b")).auth == "a:b"


@pytest.mark.parametrize("text", [b"APIHOST=\xff", None], ids=["not UTF-8", "a folder"])
def test_props_that_cannot_be_read_are_told(tmp_path, text, environ):
    if text is not None:
        (tmp_path / "props").write_bytes(text)
    environ(WSK_CONFIG_FILE=str(tmp_path / "props" if text else tmp_path))
    with pytest.raises(UsageError, match=r"cannot be read .*WSK_CONFIG_FILE"):
        Settings()
    assert run_dir() == Path("runs")  # Who asks for that only does not hear of it.


@pytest.mark.parametrize(
    ("machine", "own"), [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64")]
)
def test_nodes_are_like_this_machine_unless_something_else_is_said(
    machine, own, monkeypatch, environ
):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert Settings().architectures == [own]
    environ(DISDEL_ARCH="arm64, amd64")
    assert Settings().architectures == ["arm64", "amd64"]
    assert Settings(arch="arm64").architectures == ["arm64"]


def test_folders(tmp_path, environ):
    environ(TFDS_DATA_DIR="/tfds", DISDEL_RUN_DIR="/r")
    assert str(data_dir()) == "/tfds"
    environ(DISDEL_DATA_DIR="/mine")
    assert str(data_dir()) == "/mine"
    assert data_dir(tmp_path) == Settings(data_dir=tmp_path).data_dir == tmp_path
    assert str(run_dir()) == "/r"
    assert str(environment.state_dir(environ={"XDG_STATE_HOME": "/x"})) == "/x/disdel"
    assert str(environment.state_dir(environ={"DISDEL_STATE_DIR": "/s"})) == "/s"


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/"])
def test_the_apis_own_path_may_stand_behind_the_host(path):
    access = access_of(Settings(apihost=f"http://whisk.example:3233{path}"))
    assert access.apihost == "http://whisk.example:3233"


def test_patience_comes_from_flag_environment_or_default(environ):
    assert Settings().patience_network_s == 60
    environ(DISDEL_PATIENCE_NETWORK="7.5")
    assert Settings().patience_network_s == 7.5
    assert Settings(patience_network_s=0).patience_network_s == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (-1.0, "patience_network must be from 0 to 604800 s, not -1"),
        (float("nan"), "not nan"),
        (float("inf"), "not inf"),
        ("a while", "patience_network must be a number, not 'a while'"),
    ],
)
def test_patience_is_a_number_of_seconds(given, told):
    with pytest.raises(UsageError, match=told):
        Settings(patience_network_s=given)


@pytest.mark.parametrize("text", ["a while", "-1", "inf", "1e9"])
def test_a_wrong_variable_is_told_by_its_name(text, environ):
    environ(DISDEL_PATIENCE_NETWORK=text)
    with pytest.raises(UsageError) as refused:
        Settings()
    assert str(refused.value) == (
        f"DISDEL_PATIENCE_NETWORK must be a number of seconds from 0 to 604800, not {text!r}"
    )


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
    assert environment.state_dir().is_relative_to(tmp_path)
    home._elsewhere.cache_clear()
