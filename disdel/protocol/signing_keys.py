"""Where the secret lies that a controller shares with its endpoints.

On both sides the variable `DISDEL_SIGNING_KEY` holds the secret itself, and
`DISDEL_SIGNING_KEY_FILE` names a file that does.
"""

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
    """The secret in this process's environment; None where it has none.

    Raises:
        UsageError: it is named twice, cannot be read, or is the name of a file.
    """
    file, text = environ.get(FILE_ENV), environ.get(KEY_ENV)
    if file and text:
        raise UsageError(f"{KEY_ENV} and {FILE_ENV} are both set: unset one of them")
    if file:
        return read_secret(Path(file))
    if not text:
        return None
    secret = checked_secret(text, KEY_ENV)
    if _is_file(text.strip()):
        # As long as a secret, it would be taken for one.
        raise UsageError(f"{KEY_ENV} is the secret itself, and names a file: set {FILE_ENV}")
    return secret


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def own_secret(file: Path | None, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """The controller's secret: of the file that its user names, else of its environment.

    Raises:
        UsageError: it cannot be read, or is too short to be one.
    """
    return deployed_secret(environ) if file is None else read_secret(file)


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
