"""Which code that lies beside a model may be run: what this user has trained with, or vouches for.

A run folder may come from anywhere. So the code of a run is known by what it is, not by where it
lies: training notes a digest of it in the state directory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from disdel.errors import UsageError
from disdel.host import environment
from disdel.host.home import make_own
from disdel.user_code.collecting import UserCode


def vouch_for(code: UserCode) -> str | None:
    """Note that this user runs `code`; where that cannot be noted, a sentence on what follows."""
    note = _note(code)
    try:
        make_own(note.parent)
        note.touch()
    except OSError as error:
        return (
            f"disdel infer will ask for --trust-code, since the state directory cannot be written: "
            f"{error}"
        )
    return None


def check_trusted(path: Path, code: UserCode | None, imports: Sequence[str]) -> None:
    """Refuse a model that is not this user's and whose loading runs code.

    Args:
        path: of the model.
        code: what lies beside it.
        imports: what else loading it would import or run.

    Raises:
        UsageError: it would; the message says what.
    """
    if code is not None and _note(code).exists():
        return
    runs = [] if code is None else [str(code.folder / name) for name in code.python]
    if imports or runs:
        named = ", ".join((*runs[:5], *imports[:5]))
        more = " and more" if len(runs) > 5 or len(imports) > 5 else ""
        raise UsageError(
            f"{path} comes with code that no training of yours here has used: {named}{more}. To "
            "run it, look at it and add --trust-code, or name your own with --model-code "
            "FILE.py:FUNCTION"
        )


def _note(code: UserCode) -> Path:
    # Not the digest that a file beside it tells.
    digest = hashlib.blake2b(f"{code.ref.source}:{code.ref.function}".encode(), digest_size=16)
    for name, data in sorted(code.files.items()):
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    return environment.state_dir() / "trusted-code" / digest.hexdigest()
