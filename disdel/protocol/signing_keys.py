"""Where the secret lies that a controller shares with its endpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from disdel.errors import UsageError
from disdel.protocol.signing import KEY_BYTES

KEY_ENV = "DISDEL_SIGNING_KEY"
FILE_ENV = "DISDEL_SIGNING_KEY_FILE"
# In an action's bundle: the key of its run alone, in hexadecimal.
BUNDLED = "signing.key"
_LONGEST_BYTES = 2**16
ENDPOINT_ENV = "DISDEL_ENDPOINT"


def secret_text(file: Path) -> str:
    """The text of a file that has a secret in it, and so is short.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, or long.
    """
    with file.open("rb") as opened:
        data = opened.read(_LONGEST_BYTES + 1)
    if len(data) > _LONGEST_BYTES:
        raise ValueError(f"it is longer than {_LONGEST_BYTES} bytes")
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None


def read_secret(file: Path) -> bytes:
    """The secret in a file.

    Raises:
        UsageError: it cannot be read, or is too short to be one.
    """
    try:
        text = secret_text(file.expanduser())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        # Where the secret itself was given, it is not to be repeated.
        raise UsageError(
            f"the signing key cannot be read: {reason}; --signing-key and {FILE_ENV} name the file "
            "that has the secret"
        ) from None
    return checked_secret(text, f"the signing key {file}")


def checked_secret(text: str, what: str) -> bytes:
    """The secret of a text; raises `UsageError` where it is too short."""
    secret = text.strip().encode()
    if len(secret) < KEY_BYTES:
        raise UsageError(
            f"{what} has {len(secret)} bytes and must have at least {KEY_BYTES}: make one with "
            "`openssl rand -hex 32`, the same for controller and endpoint"
        )
    return secret


def deployed_secret(environ: Mapping[str, str] = os.environ) -> bytes | None:
    """The secret that this endpoint was deployed with; None where it was with none.

    Raises:
        UsageError: it is named, and cannot be read.
    """
    if named := environ.get(FILE_ENV):
        return read_secret(Path(named))
    if text := environ.get(KEY_ENV):
        return checked_secret(text, KEY_ENV)
    return None


def bundled_key(root: Path) -> bytes | None:
    """The key in the bundle at `root`, of one run; None where there is none.

    Raises:
        UsageError: it is no key.
    """
    try:
        return bytes.fromhex((root / BUNDLED).read_text().strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{BUNDLED} of this bundle holds no key: {type(error).__name__}") from None
