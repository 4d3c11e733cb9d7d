"""The parts of an action's zip: what is a run's own, the library, and the packages beside it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from disdel.protocol.calls import PACKAGES, is_library, library_digest

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Carried:
    """The packages that a zip carries for its actions.

    Attributes:
        versions: by their names.
        machines: that they are for, as `platform.machine` gives them, in small letters.
        folders: in which they lie.
        library: the digest of the library's sources, which lie beside them as bytecode.
    """

    versions: Mapping[str, str]
    machines: tuple[str, ...]
    folders: tuple[str, ...]
    library: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What a platform that has library and packages already needs to know of a zip.

    Attributes:
        own: a zip of what is a run's own.
        library: the digest of the library's sources; empty where there are none.
        carried: the packages; None where it has none.
    """

    own: bytes
    library: str
    carried: Carried | None


def parts_of(code: bytes) -> Parts:
    """The parts of an action's zip."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        names = sorted(archive.namelist())
        carried = None
        if PACKAGES in names:
            facts = json.loads(archive.read(PACKAGES))
            carried = Carried(
                versions=facts["versions"],
                machines=tuple(facts["machines"]),
                folders=tuple(facts["folders"]),
                library=facts["library"],
            )
        left_out = () if carried is None else carried.folders
        own = io.BytesIO()
        with zipfile.ZipFile(own, "w", zipfile.ZIP_DEFLATED) as written:
            for name in names:
                if not is_library(name) and name.partition("/")[0] not in left_out:
                    entry = zipfile.ZipInfo(name, _TIMESTAMP)
                    written.writestr(entry, archive.read(name), zipfile.ZIP_DEFLATED)
        if carried is not None:
            return Parts(own.getvalue(), carried.library, carried)
        library = {name: archive.read(name) for name in names if is_library(name)}
    return Parts(own.getvalue(), library_digest(library.items()) if library else "", None)
