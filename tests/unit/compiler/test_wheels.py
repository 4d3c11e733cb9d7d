"""Packages for another Python, from whatever pip is set up for."""

import hashlib
import zipfile

import pytest

from disdel.compiler.wheels import downloaded
from disdel.errors import UsageError

NAME = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder that pip takes packages from; there is one, `tiny`."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / NAME, "w") as wheel:
        wheel.writestr("tiny.py", "x = 1")
        wheel.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def fetch():
    return downloaded(["tiny==1.0"], python="3.10", machine="x86_64")


@pytest.mark.parametrize("constrained", [False, True])
def test_wheels_are_read(index, tmp_path, monkeypatch, constrained):
    if constrained:
        digest = hashlib.sha256((index / NAME).read_bytes()).hexdigest()
        (tmp_path / "pins.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
        monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "pins.txt"))
    assert fetch()["tiny.py"] == b"x = 1"


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        (f"tiny==1.0 --hash=sha256:{'0' * 64}\n", "another hash than its configuration asks for"),
        (
            f"other==1 --hash=sha256:{'0' * 64}\n",
            r"does not have those of tiny==1\.0.*PIP_CONSTRAINT=/dev/null",
        ),
        ("tiny==2.0\n", "hold other versions.*PIP_CONSTRAINT=/dev/null"),
    ],
)
def test_what_pip_s_configuration_forbids_is_said(index, tmp_path, monkeypatch, pins, message):
    (tmp_path / "pins.txt").write_text(pins)
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "pins.txt"))
    with pytest.raises(UsageError, match=message):
        fetch()


def test_an_index_without_it(index):
    (index / NAME).unlink()
    with pytest.raises(UsageError, match=r"tiny==1\.0; set pip up for a package index"):
        fetch()
