"""The right to ask for memory: what a controller gives an activation, and a memory agent believes.

Controller and agent share a secret that nobody else has. For every invocation the controller draws
an id and derives a key from secret, id and expiry; the three travel with that invocation's
arguments, and nowhere else: OpenWhisk stores a package's and an action's parameters, but no
invocation's. The activation signs its warnings with the key and names id and expiry, from which
the agent derives the same key. So nothing that signs is stored anywhere, whoever may publish
cannot sign, and whoever has one activation's key can ask in that activation's name only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from disdel.errors import UsageError

# The name of the argument, which the container's proxy looks for.
ARGUMENT = "memory_grant"
# Longer than any activation waits and runs; a key that leaks is of no use after that.
LIFETIME_S = 7200
SECRET_ENV = "DISDEL_MEMORY_SECRET"
_SECRET_LENGTH = 16
_PURPOSE = b"disdel memory grant 1"
# Where warnings are published; memory_warning.py, which containers import alone, says it too.
CHANNEL = "disdel:memory"


def find_secret(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """The secret in `file`, else in the environment; None where there is none.

    Raises:
        UsageError: it cannot be read, or is too short to be one.
    """
    try:
        text = environ.get(SECRET_ENV, "") if file is None else file.read_text()
    except (OSError, ValueError) as error:
        raise UsageError(f"the memory agent's secret cannot be read: {error}") from error
    secret = text.strip().encode()
    if not secret and file is None:
        return None
    if len(secret) < _SECRET_LENGTH:
        raise UsageError(
            f"the memory agent's secret has {len(secret)} bytes and must have at least "
            f"{_SECRET_LENGTH}: make one with `openssl rand -hex 32`, the same for agent and "
            f"controllers ({SECRET_ENV})"
        )
    return secret


def issue(secret: bytes, now_s: float | None = None) -> str:
    """A grant for one activation: `ID:EXPIRY:KEY`, expiry in seconds since the epoch."""
    identity = secrets.token_hex(16)
    expires_s = int(time.time() if now_s is None else now_s) + LIFETIME_S
    return f"{identity}:{expires_s}:{key_of(secret, identity, expires_s).hex()}"


def key_of(secret: bytes, identity: str, expires_s: int) -> bytes:
    """The key of the grant with this id and expiry."""
    name = b"%b %b %d" % (_PURPOSE, identity.encode(), expires_s)
    return hmac.digest(secret, name, hashlib.sha256)
