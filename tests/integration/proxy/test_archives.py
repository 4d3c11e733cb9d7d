"""Archives that are damaged, or more than an action may have: told, and not written."""

from __future__ import annotations

import base64
import io
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.action_proxy import proxy


def archive(write: Callable[[zipfile.ZipFile], object], method: int = zipfile.ZIP_DEFLATED) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as bundle, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        write(bundle)
    return base64.b64encode(buffer.getvalue()).decode()


def one(name: str, content: bytes = b"") -> Callable[[zipfile.ZipFile], object]:
    return lambda bundle: bundle.writestr(name, content)


def many(bundle: zipfile.ZipFile) -> None:
    for number in range(20_001):
        bundle.writestr(f"{number}", b"")


def both(bundle: zipfile.ZipFile) -> None:
    bundle.writestr("a", b"")
    bundle.writestr("a/b", b"")


def declaring(size: int, code: str) -> str:
    """An archive that says that its last file has so many bytes."""
    data = bytearray(base64.b64decode(code))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = size.to_bytes(4, "little")
    return base64.b64encode(data).decode()


def unknown_method(code: str) -> str:
    data = bytearray(base64.b64decode(code))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.index(signature)
        data[at + offset : at + offset + 2] = (99).to_bytes(2, "little")
    return base64.b64encode(data).decode()


BAD_ARCHIVES = {
    "a bomb": (declaring(513 << 20, archive(one("x"))), "unpacks to 537919488 bytes, more than"),
    "many files": (archive(many, zipfile.ZIP_STORED), "has 20001 files"),
    "more than it says": (declaring(9, archive(one("__main__.py", bytes(1 << 20)))), "cannot be"),
    "up": (archive(one("../x")), "outside of its folder: '../x'"),
    "up later": (archive(one("a/../../x")), "outside of its folder"),
    "the root": (archive(one("/etc/x")), "outside of its folder"),
    "a file that is a folder": (archive(both), "cannot be unpacked"),
    "an unknown method": (unknown_method(archive(one("__main__.py", b"x = 1"))), "cannot be unp"),
    "a long name": (archive(one("x" * 5000)), "cannot be unpacked"),
    "a cut one": (archive(one("__main__.py", b"x" * 1000), zipfile.ZIP_STORED)[:-400], ""),
}


def test_archives_that_are_more_than_they_should_be(tmp_path: Path) -> None:
    with proxy(tmp_path) as container:
        for what, (code, _) in BAD_ARCHIVES.items():
            reply = container.init(code, binary=True)
            assert reply.status_code == 502, what
            assert reply.json()["error"].startswith("The action failed to generate"), what
        # None of them has hurt the container.
        assert container.init().status_code == 200
        _, err = container.end()
    for _, told in BAD_ARCHIVES.values():
        assert told in err
    assert "Traceback" not in err
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written < 4 << 20


def test_the_later_of_two_files_of_one_name_counts(tmp_path: Path) -> None:
    def two(bundle: zipfile.ZipFile) -> None:
        for text in (
            "def main(args): return {}",
            f"def main(args): return {{'n': 2}}{' ' * 2**20}",
        ):
            bundle.writestr("__main__.py", text)

    with proxy(tmp_path) as container:
        assert container.init(archive(two), binary=True).status_code == 200
        assert container.run().json() == {"n": 2}


def test_a_link_in_an_archive_is_a_file_with_its_target(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    main = "import os\ndef main(args): return {'link': os.path.islink('link')}"

    def linked(bundle: zipfile.ZipFile) -> None:
        bundle.writestr(link, "/etc/passwd")
        bundle.writestr("__main__.py", main)

    with proxy(tmp_path) as container:
        assert container.init(archive(linked), binary=True).status_code == 200
        assert container.run().json() == {"link": False}
