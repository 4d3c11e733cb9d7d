"""What crosses between disdel and an entry of its own on platforms that are no OpenWhisk.

Requests and replies are JSON objects. Standard library only: an entry's cold start waits for it.

| request | says | is answered by |
| --- | --- | --- |
| `hello` | `disdel`: the version of this protocol | what is there: `HELLO_FIELDS` |
| `call` | an action, its arguments, limits, the digest of its code | its record, or `wants` |
| `forget` | what begins the keys of children that nobody needs any more | nothing |

An entry that does not have code of that digest answers `{"wants": DIGEST}`, and is sent the same
call with the code in it. What it refuses it answers by `{"refused": SENTENCE, "status": STATUS}`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable

CALLS_VERSION = 1
HELLO_FIELDS = frozenset(
    {
        "disdel",
        "version",
        "library",
        "python",
        "machine",
        "host",
        "cpus",
        "memory_mb",
        "enforcement",
    }
)
# What an export says of itself, beside the library.
DEPLOYED = "disdel_deployed.json"
# Headers: of a call that may come again; of the function's token, beside the platform's own.
KEY = "Idempotency-Key"
TOKEN = "X-Disdel-Token"
# Where the library lies in a zip of an action; what lies elsewhere is a run's own.
LIBRARY = ("disdel/", "openwhisk_local/")
# Of one action alone, so they come with its code, as what is a run's own.
OF_ONE_ACTION = frozenset({"disdel/protocol/flower.py", "disdel/worker/flower_client.py"})
# In a zip that has packages beside the library: which, for which machines, of which sources.
PACKAGES = "disdel/packages.json"
# Of a library's digest.
_DIGITS = 32


def is_library(path: str) -> bool:
    """Whether a file of an action's zip is of the library, as all actions have it."""
    return path.startswith(LIBRARY) and path not in OF_ONE_ACTION


def library_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """What tells one library from others: of its files, by their paths in a zip."""
    digest = hashlib.sha256()
    for path, data in sorted(files):
        if is_library(path):
            digest.update(f"{path} {len(data)} ".encode() + data)
    return digest.hexdigest()[:_DIGITS]


def own_digest(code: bytes) -> str:
    """Of what lies in a zip of an action's code and is a run's own, not the library's."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            if not is_library(entry.filename):
                data = archive.read(entry)
                digest.update(
                    f"{len(entry.filename)} {entry.filename} {len(data)} ".encode() + data
                )
    return digest.hexdigest()


def code_digest(code: bytes) -> str:
    """By which the zip of an action's code is asked for."""
    return hashlib.sha256(code).hexdigest()
