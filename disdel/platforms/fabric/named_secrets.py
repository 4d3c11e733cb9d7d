"""Secrets of endpoints, which a fabric file names by where they are."""

from __future__ import annotations

import os
from pathlib import Path

from disdel.errors import UsageError
from disdel.platforms.fabric.paths import beside
from disdel.protocol.signing_keys import secret_text
from disdel.settings.texts import checked_text


def named_secret(
    endpoint: str, key: str, *, variable: str | None, file: Path | None, source: Path
) -> str | None:
    """A secret, from where a fabric file says that it is; None where it says nothing.

    Args:
        endpoint: whose it is.
        key: how the file calls it: `key` for key_env and key_file.
        variable: the environment variable that holds it.
        file: the file that does; a relative one lies beside the fabric file.
        source: the fabric file.

    Raises:
        UsageError: it is not there.
    """
    what = f"endpoint {endpoint} has its {key.replace('_', ' ')} in"
    if variable is not None:
        if not (secret := os.environ.get(variable)):
            raise UsageError(
                f"{what} the environment variable {variable} ({key}_env in {source}), which is "
                f"{'empty' if secret == '' else 'not set'}: export it"
            )
        return checked_text(f"the {key.replace('_', ' ')} in {variable}", secret.strip())
    if file is None:
        return None
    path = beside(file, source, f"{key}_file")
    try:
        secret = secret_text(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{what} {path} ({key}_file in {source}), which cannot be read: {why}"
        ) from error
    if not secret:
        raise UsageError(f"{what} {path}, which is empty")
    return checked_text(f"the {key.replace('_', ' ')} in {path}", secret)
