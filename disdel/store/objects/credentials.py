"""Where the keys of an object store come from: as AWS's own tools look for them, never the URL."""

from __future__ import annotations

import configparser
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from disdel.errors import ConnectionRefused
from disdel.store.objects.presigning import Credentials


def find_credentials(
    profile: str | None = None, environ: Mapping[str, str] = os.environ
) -> Callable[[], Credentials]:
    """What gives the keys that hold now: of the environment, the shared file, or botocore.

    botocore is asked where it is installed (`pip install boto3`): it knows roles, single sign-on
    and the keys of machines.

    Args:
        profile: whose, of the shared file; else AWS_PROFILE's, else "default".
        environ: the environment.

    Raises:
        ConnectionRefused: there are none.
    """
    profile = profile or environ.get("AWS_PROFILE")
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if profile is None and key_id and secret:
        fixed = Credentials(
            key_id=key_id,
            secret=secret,
            token=environ.get("AWS_SESSION_TOKEN") or None,
            expires_s=_expiry_s(environ.get("AWS_CREDENTIAL_EXPIRATION")),
        )
        return lambda: fixed
    filed = _from_file(profile or "default", environ)
    if filed is not None:
        return lambda: filed
    asked = _from_botocore(profile)
    if asked is not None:
        return asked
    whose = f" of the profile {profile}" if profile else ""
    raise ConnectionRefused(
        f"there are no keys{whose} for the object store: set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, write them to ~/.aws/credentials, or install boto3 for roles and "
        "single sign-on"
    )


def _expiry_s(told: str | None) -> float | None:
    if not told:
        return None
    try:
        return datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise ConnectionRefused(
            f"AWS_CREDENTIAL_EXPIRATION={told} is no time: write it as 2026-01-31T12:00:00Z"
        ) from None


def _from_file(profile: str, environ: Mapping[str, str]) -> Credentials | None:
    path = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        # What it says may hold a key.
        raise ConnectionRefused(f"{path} cannot be read: {type(error).__name__}") from None
    if not parser.has_section(profile):
        return None
    found = dict(parser.items(profile))
    key_id, secret = found.get("aws_access_key_id"), found.get("aws_secret_access_key")
    if not key_id or not secret:
        return None
    return Credentials(key_id=key_id, secret=secret, token=found.get("aws_session_token"))


def _from_botocore(profile: str | None) -> Callable[[], Credentials] | None:
    try:
        import botocore.session  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    try:
        found = botocore.session.Session(profile=profile).get_credentials()
    except Exception as error:
        raise ConnectionRefused(f"botocore finds no keys: {error}") from error
    if found is None:
        return None

    def current() -> Credentials:
        # Renews those that are about to end.
        keys = found.get_frozen_credentials()
        ends = getattr(found, "_expiry_time", None)
        return Credentials(
            key_id=keys.access_key,
            secret=keys.secret_key,
            token=keys.token,
            expires_s=None if ends is None else ends.timestamp(),
        )

    return current


def lasting_s(credentials: Credentials, now_s: float | None = None) -> float | None:
    """How long credentials hold; None where that is not known."""
    if credentials.expires_s is None:
        return None
    return credentials.expires_s - (time.time() if now_s is None else now_s)
