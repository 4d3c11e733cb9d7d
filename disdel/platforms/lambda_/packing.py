"""The zip of an action as Lambda takes it: with the handler beside it, within Lambda's limits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from disdel.errors import PlatformRejected
from disdel.platforms.lambda_.limits import UNZIPPED_BYTES, ZIP_BYTES
from disdel.platforms.lambda_.machines import check_machine
from disdel.types.units import MIB

HANDLER = "disdel.entry.lambda_handler.handler"
_LIBRARY = Path(__file__).resolve().parents[2]
_ENTRY = ("entry/__init__.py", "entry/call.py", "entry/lambda_handler.py")
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_TOO_LARGE = 413


def packed(name: str, code: bytes, architecture: str, *, has_bucket: bool) -> bytes:
    """The zip of an action with what Lambda calls in it.

    Args:
        name: of the action, for messages.
        code: its zip.
        architecture: of the function.
        has_bucket: whether it can be more than is sent with a request.

    Raises:
        PlatformRejected: Lambda would refuse it for its size, or cannot load what is in it.
    """
    buffer = io.BytesIO(code)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        present = set(archive.namelist())
        for path in _lacking(present):
            entry = zipfile.ZipInfo(path, _TIMESTAMP)
            # Lambda's processes are another user's.
            entry.external_attr = 0o644 << 16
            own = _LIBRARY / path.removeprefix("disdel/")
            data = b"" if path == "disdel/__init__.py" else own.read_bytes()
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
        check_machine(name, archive, architecture)
        unzipped = sum(member.file_size for member in archive.infolist())
    data = buffer.getvalue()
    if unzipped > UNZIPPED_BYTES:
        raise PlatformRejected(
            f"the code of {name} unpacks to {unzipped / MIB:.1f} MB, and Lambda takes "
            f"{UNZIPPED_BYTES / MIB:.0f} MB: let fewer or smaller files travel with your own code, "
            "or use --runtime compiled",
            status=_TOO_LARGE,
        )
    if len(data) > ZIP_BYTES and not has_bucket:
        raise PlatformRejected(
            f"the code of {name} is a zip of {len(data) / MIB:.1f} MB, and Lambda takes "
            f"{ZIP_BYTES / MIB:.0f} MB with a request: name an S3 bucket that takes more, "
            "--platform-option bucket=NAME",
            status=_TOO_LARGE,
        )
    return data


def _lacking(present: set[str]) -> list[str]:
    """What the zip does not have of the handler, or of what it imports."""
    wanted = ["disdel/__init__.py", *(f"disdel/{path}" for path in _ENTRY)]
    return [path for path in wanted if path not in present and f"{path}c" not in present]
