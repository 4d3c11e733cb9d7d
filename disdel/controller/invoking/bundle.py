"""The zip of an action: its `__main__.py` and the library code that it runs.

A bundle is the same, byte for byte, for the same sources, so that a platform sees an unchanged
action as unchanged.
"""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import disdel
from disdel.errors import UsageError
from disdel.host.assets import actions_dir
from disdel.platforms.parts import parts_of
from disdel.types import Capacity
from disdel.types.units import MIB
from disdel.user_code.collecting import FOLDER, UserCode

# What the worker side of the library imports; the rest stays on the controller's host.
_LIBRARY = (
    "disdel/connections",
    "disdel/entry",
    "disdel/errors.py",
    "disdel/models",
    "disdel/protocol",
    "disdel/runtimes",
    "disdel/store",
    "disdel/strategies",
    "disdel/privacy",
    "disdel/secure_aggregation",
    "disdel/types",
    "disdel/user_code",
    "disdel/worker",
    "openwhisk_local/machine",
)
# For the controller's host alone.
_LEFT_OUT = (
    "disdel/models/user/describe.py",
    "disdel/models/user/describe_keras.py",
    "disdel/models/user/describe_torch.py",
    "disdel/models/user/keras_draws.py",
    "disdel/models/user/trial.py",
    "disdel/privacy/accounting.py",
    "disdel/protocol/description.py",
    "disdel/protocol/memory_grant.py",
    "disdel/runtimes/steps_tried.py",
    "disdel/secure_aggregation/quantising.py",
    "disdel/store/connecting.py",
    "disdel/store/examination.py",
    "disdel/store/examining.py",
    "disdel/store/inline_host.py",
    "disdel/store/objects/credentials.py",
    "disdel/store/objects/presigning.py",
    "disdel/store/objects/s3.py",
    "disdel/store/private_redis.py",
    "disdel/store/redis_examination.py",
    "disdel/strategies/asking.py",
    "disdel/strategies/selection.py",
    "disdel/types/assignment.py",
    "disdel/types/by_client.py",
    "disdel/types/client_scores.py",
    "disdel/types/dealt.py",
    "disdel/types/evaluating.py",
    "disdel/types/events.py",
    "disdel/types/federation.py",
    "disdel/types/flower.py",
    "disdel/types/job.py",
    "disdel/types/lateness.py",
    "disdel/types/learning.py",
    "disdel/types/limits.py",
    "disdel/types/named.py",
    "disdel/types/plan.py",
    "disdel/types/report.py",
    "disdel/types/report_json.py",
    "disdel/types/scores.py",
    "disdel/types/timeline.py",
    "disdel/user_code/files_read.py",
    "disdel/user_code/reading.py",
    "disdel/worker/measure.py",
    "openwhisk_local/machine/libraries.py",
    "openwhisk_local/machine/on_disk.py",
    "openwhisk_local/machine/process_identity.py",
)
# For what calls actions where there is no platform underneath: it is there before they are.
ENTRY = (
    "disdel/entry/admission.py",
    "disdel/entry/answering.py",
    "disdel/entry/container.py",
    "disdel/entry/containers.py",
    "disdel/entry/executor_call.py",
    "disdel/entry/http_function.py",
    "disdel/entry/lambda_image.py",
    "disdel/entry/orphans.py",
    "disdel/protocol/calls.py",
    "openwhisk_local/machine/scratch.py",
)
# What one action alone has, beside what all have.
_OWN = {"flowerClient": ("disdel/protocol/flower.py", "disdel/worker/flower_client.py")}
# Of the facts that `disdel.types` gathers, an action reads those modules alone that it asks for: a
# cold start waits for all of it.
_TYPES = '''"""Facts that travel, each found in its module when it is asked for."""

from importlib import import_module

_HOMES = {homes}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'disdel.types' has no attribute {{name!r}}")
    return getattr(import_module(_HOMES[name]), name)
'''
# The front doors lead to what is not in the bundle, or to what nobody may ask for.
_FRONT_DOORS = {
    "disdel/__init__.py": (
        f'"""The worker side of disdel."""\n\n__version__ = "{disdel.__version__}"\n'.encode()
    ),
    "openwhisk_local/__init__.py": b'"""What actions need to know of their container."""\n',
}
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def library(action: str | None = None) -> dict[str, bytes]:
    """The sources of the worker side of disdel, by their paths in a zip.

    Args:
        action: with what this action alone has.
    """
    left_out = {*_LEFT_OUT, *ENTRY}
    left_out |= {name for whose, names in _OWN.items() if whose != action for name in names}
    root = Path(__file__).parents[3]
    members = {}
    for entry in _LIBRARY:
        path = root / entry
        for source in [path] if path.is_file() else path.rglob("*.py"):
            name = source.relative_to(root).as_posix()
            if name not in left_out:
                members[name] = source.read_bytes()
    types = "disdel/types/__init__.py"
    return members | _FRONT_DOORS | {types: _opening_late(members[types])}


def _opening_late(front: bytes) -> bytes:
    """What stands for a module that gathers others: it imports one when a name of it is wanted."""
    homes = {
        alias.name: node.module
        for node in ast.parse(front).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return _TYPES.format(homes=homes).encode()


def check_code(what: str, code: bytes, capacity: Capacity) -> None:
    """Refuse a zip of code that the platform would refuse.

    Args:
        what: the zip, for a message.
        code: its bytes.
        capacity: what the platform allows.

    Raises:
        UsageError: it is larger.
    """
    if len(code) > capacity.code_bytes:
        raise UsageError(
            f"{what} is a zip of {len(code) / MIB:.1f} MB, and this platform takes "
            f"{capacity.code_bytes / MIB:.1f} MB: let fewer or smaller files travel with your own "
            "code (files_beside), or with --runtime compiled install the versions that "
            "constraints.txt names"
        )
    if len(code) <= capacity.own_code_bytes:
        return
    own_bytes = len(parts_of(code).own)
    if own_bytes > capacity.own_code_bytes:
        raise UsageError(
            f"{what} has {own_bytes / MIB:.1f} MB of the run's own, zipped, and this platform "
            f"takes {capacity.own_code_bytes / MIB:.1f} MB in a request: let fewer or smaller "
            "files travel with your own code (files_beside)"
        )


def build_bundle(
    action: str,
    code: UserCode | None = None,
    *,
    packages: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """The zip of the action in `actions/<action>`.

    Args:
        action: its name.
        code: the user's own code, where there is some.
        packages: a zip of the library and of what it imports, for a Python that has nothing.
        files: more files, by their path in the zip.

    Raises:
        FileNotFoundError: there is no such action.
    """
    main = actions_dir() / action / "__main__.py"
    members = {"__main__.py": main.read_bytes(), **(library(action) if packages is None else {})}
    if code is not None:
        members |= {f"{FOLDER}/{name}": data for name, data in code.laid_out().items()}
    members |= files or {}
    # Added to the packages as they are, which take seconds to compress.
    buffer = io.BytesIO(packages or b"")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _TIMESTAMP), members[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def with_file(code: bytes, name: str, text: str) -> bytes:
    """An action's zip with one file more."""
    buffer = io.BytesIO(code)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, _TIMESTAMP), text)
    return buffer.getvalue()
