"""The text of a fabric file as tables, in which no secret stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disdel.errors import UsageError
from disdel.platforms.fabric.secret_looks import names_secret, secret_in

# Keys that hold where a secret is, and none.
POINTERS = frozenset({"key_env", "key_file", "signing_key_env", "signing_key_file"})
# What is larger was not written by hand.
_LARGEST_BYTES = 2**20
_SAYS = re.compile(r"""[\s#]*([\w-]+)\s*=\s*["']""")


def content_of(path: Path) -> dict[str, Any]:
    """The tables of a fabric file, numbers with a point in them as texts.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a secret in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--fabric {path} cannot be read: {why}") from error
    if len(data) > _LARGEST_BYTES:
        raise UsageError(f"--fabric {path} is larger than 1 MiB: that is no fabric file")
    try:
        text = data.decode("utf-8-sig")
        content = tomllib.loads(text, parse_float=str)
    except UnicodeDecodeError as error:
        raise UsageError(f"--fabric {path} is no text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--fabric {path} is no TOML: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        comment = line.partition("#")[2]
        if kind := secret_in(comment) or _switched_off(comment):
            raise _holds_secret(f"the comment in line {number} of {path} looks like {kind}")
    _refuse_secrets(content, path, ())
    return content


def _switched_off(comment: str) -> str | None:
    """What a line is that sets a secret and was made a comment."""
    match = _SAYS.match(comment)
    if match is None or match[1] in POINTERS or not names_secret(match[1]):
        return None
    return "a secret by its name"


def _refuse_secrets(value: Any, path: Path, at: tuple[str, ...]) -> None:
    """Refuse what should be in no file, without repeating it.

    Raises:
        UsageError: there is something.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, str) and names_secret(key) and key not in POINTERS:
                raise _holds_secret(f"{'.'.join((*at, key))} in {path} is a secret by its name")
            if secret_in(key):
                raise _holds_secret(f"a key under {'.'.join(at) or 'the top'} in {path} is one")
            _refuse_secrets(inner, path, (*at, key))
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner, path, at)
    elif isinstance(value, str) and (kind := secret_in(value)) is not None:
        raise _holds_secret(f"{'.'.join(at)} in {path} looks like {kind}")


def _holds_secret(what: str) -> UsageError:
    return UsageError(
        f"{what}, and a file is copied and shown: put it into an environment variable or a file of "
        "its own, and name that (key_env = VARIABLE, key_file = FILE; the store's with --redis)"
    )
