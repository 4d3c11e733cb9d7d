"""Build the user's network once and say what it is: `python -m disdel.models.user.describe IN OUT`.

The controller runs this in a process of its own before it plans; two JSON files go in and out. It
is built as an action builds it, takes a training step, is scored and saved, so that what is wrong
with it is known before anything runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from disdel.errors import DisdelError, UsageError
from disdel.models.user.bundled import offered
from disdel.protocol.messages import DescribeReply, DescribeRequest, from_json, to_json
from disdel.runtimes.registry import all_runtimes
from disdel.runtimes.runtime import Runtime
from disdel.types.words import a_kind
from disdel.user_code.collecting import imported_packages
from disdel.user_code.files_read import FilesRead
from disdel.user_code.module import UserModule, end_process


def describe(request: DescribeRequest) -> DescribeReply:
    """The network that `request` names.

    Raises:
        UsageError: it cannot be built, trained or saved; the message shows the user's own line.
    """
    module = UserModule(request.code, Path(request.folder))
    return _home(module, request).load_networks().describe(module, request)


def _home(module: UserModule, request: DescribeRequest) -> Runtime:
    """The runtime whose framework the user's network is made with.

    Frameworks take the shape of an image differently, so the function is called to be told only
    where its files import several of them, or none.
    """
    homes = [(runtime, runtime.users) for runtime in all_runtimes() if runtime.users is not None]
    imported = imported_packages(Path(request.folder))
    used = [runtime for runtime, users in homes if not imported.isdisjoint(users.packages)]
    if len(used) == 1:
        return used[0]
    made = module.call(**offered(request.features[0].shape, request.targets[0]))
    # No framework is imported for the answer: it may not be there.
    families = {kind.__module__.partition(".")[0] for kind in type(made).__mro__}
    for runtime, users in homes:
        if not families.isdisjoint(users.packages):
            return runtime
    needed = " or ".join(users.needed for _, users in homes)
    raise UsageError(f"{request.code.entry} returned {a_kind(made)}, where {needed} is needed")


def main(request_path: str, reply_path: str) -> None:
    fields = json.loads(Path(request_path).read_text(encoding="utf-8"))
    reply: dict[str, Any]
    request, read = from_json(DescribeRequest, fields), FilesRead()
    folder = Path(request.folder)
    try:
        with read.watched():
            found = to_json(describe(request))
        sources = [path.read_bytes() for path in folder.rglob("*.py")]
        # The request's own files and this process's temporary ones are gone afterwards.
        gone = (Path(request_path).absolute().parent, Path(tempfile.gettempdir()))
        reply = {"reply": found, "read": read.note(sources, (folder,), leave_out=gone)}
    except DisdelError as error:
        reply = {"error": str(error)}
    Path(reply_path).write_text(json.dumps(reply), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process(0)
