"""The command, in a process of its own.

It is forked off one that has imported what commands import, which is most of what many of them
take.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def disdel(*arguments, cwd, check=True, linear=False, **environment):
    """Run the command with this environment and more; the finished process.

    With `linear`, its containers train without a framework (`tests.support.linear`).
    """
    arguments = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        asked = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": {**os.environ, **{k: str(v) for k, v in environment.items()}},
            "outputs": [str(output) for output in outputs],
            "linear": linear,
        }
        server = _server()
        try:
            server.stdin.write(json.dumps(asked) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:
            # The test's time is up: its command goes, and the next one's status is its own.
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()
            _server.cache_clear()
            raise
        said = [output.read_text() for output in outputs]
    done = subprocess.CompletedProcess(["disdel", *arguments], status, *said)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@cache
def _server():
    """It ends with this process, whose end is that of its input."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.command"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _forked():
    """Fork for each command that is asked for, and tell its end.

    Returns in the child alone: what it was asked.
    """
    import disdel.api
    import disdel.cli.app  # noqa: F401

    # Nothing that a command writes goes here.
    told = os.dup(1)
    with os.fdopen(os.dup(0)) as requests:
        for line in requests:
            request = json.loads(line)
            if request["linear"]:
                import tests.support.linear  # noqa: F401
            child = os.fork()
            if child == 0:
                os.close(told)
                _become(request)
                return request
            _, status = os.waitpid(child, 0)
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request):
    """What a new process would be."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = ["disdel", *request["arguments"]]
    tempfile.tempdir = None
    for descriptor, path in enumerate([os.devnull, *request["outputs"]]):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if descriptor else os.O_RDONLY
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    if _forked()["linear"]:
        import pytest

        from tests.support.linear import take_place

        take_place(pytest.MonkeyPatch())
    from disdel.__main__ import main

    main()
