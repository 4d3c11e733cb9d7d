"""Run the docker skeleton's action proxy outside of its image: `skeleton.py FOLDER PORT`.

FOLDER holds actionproxy.py. The action lives in a new folder below TMPDIR instead of in /action.
"""

import os
import sys
import tempfile
from pathlib import Path

# Uploaded code inherits the permissions of what the image has in its place.
STUB = """#!/bin/sh
echo '{"error": "This is a stub action. Replace it with custom logic."}'
"""


def main() -> None:
    folder, port = sys.argv[1:]
    sys.path.insert(0, folder)
    os.environ["FLASK_PROXY_PORT"] = port
    executable = Path(tempfile.mkdtemp(prefix="skeleton-")) / "exec"
    executable.write_text(STUB)
    executable.chmod(0o755)
    import actionproxy

    actionproxy.setRunner(actionproxy.ActionRunner(str(executable), str(executable)))
    actionproxy.main()


if __name__ == "__main__":
    main()
