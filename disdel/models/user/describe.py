"""Build the user's network once and say what it is: `python -m disdel.models.user.describe IN OUT`.

The controller runs this in a process of its own before it plans; two JSON files go in and out. It
is built as an action builds it, takes a training step, is scored and saved, so that what is wrong
with it is known before anything runs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from disdel.errors import DisdelError, UsageError
from disdel.models.user.bundled import offered
from disdel.protocol.description import DescribeReply, DescribeRequest
from disdel.protocol.messages import from_json, to_json
from disdel.runtimes.registry import all_runtimes, homes_of
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
    described_by = import_module(_home(module, request).described_by)
    # Where it is not known that the user's code or its framework could fail, too.
    reply: DescribeReply = module.guarded(lambda: described_by.describe(module, request))
    return reply


def _home(module: UserModule, request: DescribeRequest) -> Runtime:
    """The runtime whose framework the user's network is made with.

    Frameworks take the shape of an image differently, so the function is called to be told only
    where its files import several of them, or none.
    """
    homes = homes_of(imported_packages(Path(request.folder)))
    if len(homes) == 1:
        return homes[0]
    made = module.call(**offered(request.features[0].shape, request.targets[0]))
    # No framework is imported for the answer: it may not be there.
    homes = homes_of({kind.__module__.partition(".")[0] for kind in type(made).__mro__})
    if homes:
        return homes[0]
    needed = " or ".join(one.users.needed for one in all_runtimes() if one.users is not None)
    raise UsageError(f"{request.code.entry} returned {a_kind(made)}, where {needed} is needed")


def _import_framework(folder: Path) -> None:
    """Import what the files in `folder` will, with no more beside it than an image has.

    They may import that themselves, and have what is wrong with it told with their own line.
    """
    with contextlib.suppress(DisdelError):
        for runtime in homes_of(imported_packages(folder)):
            runtime.import_for_a_trial()


def main(request_path: str, reply_path: str) -> None:
    fields = json.loads(Path(request_path).read_text(encoding="utf-8"))
    reply: dict[str, Any]
    request, read = from_json(DescribeRequest, fields), FilesRead()
    folder = Path(request.folder)
    try:
        with read.watched():
            # Watched, since frameworks read settings of the user's, such as ~/.keras/keras.json.
            _import_framework(folder)
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
