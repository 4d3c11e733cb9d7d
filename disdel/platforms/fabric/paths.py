"""Files that a fabric file names: what is written relative lies beside it, whoever reads it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from disdel.connections.trust import with_certificates
from disdel.host.home import expanded
from disdel.settings import Declared

# The part of a Redis's URL that names a file.
_AUTHORITY = "ssl_ca_certs"


def beside(file: str | Path, source: Path, key: str) -> Path:
    """The path of a file that `key` names in the fabric file at `source`.

    Raises:
        UsageError: it is in a home folder that there is not.
    """
    return source.parent / expanded(file, key)


def located(option: Declared, text: str, source: Path) -> str:
    """What a fabric file says of an option, with the path in it where that leads from anywhere.

    Raises:
        UsageError: it is in a home folder that there is not.
    """
    if Path in option.kinds:
        return str(beside(text, source, option.name))
    # Code, as FILE.py:FUNCTION.
    file, colon, name = text.rpartition(":")
    if option.metavar.startswith("FILE") and file.endswith(".py"):
        return f"{beside(file, source, option.name)}{colon}{name}"
    return text


def store_address(url: str, source: Path) -> str:
    """An endpoint's address of the store, with its authority's certificates in place of their file.

    Raises:
        UsageError: the file cannot be read.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if _AUTHORITY in query:
        query[_AUTHORITY] = str(beside(query[_AUTHORITY], source, "store"))
        url = urlunsplit(parts._replace(query=urlencode(query)))
    return with_certificates(url)
