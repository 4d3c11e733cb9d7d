"""What importing a runtime's framework takes here: `python -m disdel.worker.measure RUNTIME`.

The controller runs this before the first plan on a build that the shipped figures are not of. It
prints a `Footprint` as JSON, of this process alone: nothing else is in a container.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from disdel.runtimes.registry import runtime_named
from disdel.types.units import mb_ceil
from disdel.worker import tasks  # noqa: F401 - what a container has beside the framework
from disdel.worker.footprint import HOT_SHARE, Footprint
from openwhisk_local.machine.allocator import give_back_freed_memory
from openwhisk_local.machine.container_memory import resident


def main(runtime: str) -> None:
    named = runtime_named(runtime)
    named.import_as_in_image()
    give_back_freed_memory()
    use = resident([os.getpid()])
    found = Footprint(
        anonymous_mb=mb_ceil(use.anonymous_bytes),
        mapped_mb=mb_ceil(HOT_SHARE * use.file_bytes + use.shared_bytes),
    )
    print(json.dumps(asdict(found)))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1])
