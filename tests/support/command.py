"""The command, in a process of its own."""

import subprocess
import sys


def disdel(*arguments, cwd, check=True):
    """Run the command and return the finished process."""
    done = subprocess.run(
        [sys.executable, "-m", "disdel", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done
