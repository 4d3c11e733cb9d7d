"""The command `disdel`: the one place where errors become messages and exit codes.

0 done, 1 the run failed, 2 the user's input, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback

from disdel.allocator import collect_rarely, keep_large_blocks_apart
from disdel.errors import DisdelError

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit."""
    keep_large_blocks_apart()
    collect_rarely()
    # Loading the commands can be interrupted too.
    try:
        from disdel.cli.app import app

        app()
    except DisdelError as error:
        if os.environ.get("DISDEL_TRACEBACK"):
            traceback.print_exc()
        sys.exit(_complain(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", INTERRUPTED))
    except SystemExit as end:
        # Typer turns an interrupt inside a command into a silent exit.
        if end.code == INTERRUPTED:
            _complain("interrupted", INTERRUPTED)
        raise


def _complain(message: str, exit_code: int) -> int:
    print(f"disdel: {message}", file=sys.stderr)  # noqa: T201
    return exit_code


if __name__ == "__main__":
    main()
