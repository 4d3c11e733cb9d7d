"""What AWS Lambda calls in a function of a container image, where no zip of an action is unpacked.

The image has the library. An action's own code (its `__main__.py`, a network of the user's) comes
with each event, since nobody knows which container will get it; the function's settings say which
code that is, and of which library. The first event of a container lays both out beside each other,
as they lie in a zip.

Standard library only, and of disdel nothing but what is laid out.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Of an event: the zip in base64.
CODE = "disdel_code"
# Of a function's environment: the digest of that, and the version and the digest of the library.
CODE_ENV = "DISDEL_CODE"
LIBRARY_ENV = "DISDEL_LIBRARY"
_LIBRARY = Path(__file__).parent / "library"
_DEPLOYED = _LIBRARY / "disdel_deployed.json"
_laid_out: Path | None = None


class WrongImage(Exception):
    """The function and its image, or an event, are not of the same disdel; the message says how."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """The answer of the action to what an event has beside the code.

    Raises:
        WrongImage: the code is not what the function is for.
        Exception: whatever the action's module raises.
    """
    code = base64.b64decode(event.get(CODE, ""))
    if hashlib.sha256(code).hexdigest() != os.environ.get(CODE_ENV):
        raise WrongImage("the event does not bring the code that this function was made for")
    _lay_out(code)
    # From there: what stands beside it is found by where it lies.
    serve = importlib.import_module("disdel.entry.lambda_handler").handler
    answer: dict[str, Any] = serve({k: v for k, v in event.items() if k != CODE}, context)
    return answer


def _lay_out(code: bytes) -> None:
    """Lay out the action, unless this container has done so."""
    global _laid_out
    if _laid_out is not None:
        return
    _check_library()
    # A container's files outlive a process that was ended, which may have been at this very point.
    folder = Path(tempfile.gettempdir()) / "disdel-action"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_LIBRARY, folder)
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder)
    sys.path.insert(0, str(folder))
    _laid_out = folder


def _check_library() -> None:
    """Raises `WrongImage` where the image has another library than the action was made with."""
    deployed = json.loads(_DEPLOYED.read_text(encoding="utf-8"))
    wanted, _, digest = os.environ.get(LIBRARY_ENV, "").partition(" ")
    # Code that was made without a library takes any.
    if digest in ("", deployed["library"]):
        return
    there = deployed["version"]
    anew = "build and push anew what `disdel export --platform lambda` writes"
    if there == wanted:
        raise WrongImage(f"the image has disdel {there}, as the run, but other files: {anew}")
    raise WrongImage(
        f"the image has disdel {there}, and the run {wanted}: {anew}, or run that version: the "
        "older side is to be updated"
    )
