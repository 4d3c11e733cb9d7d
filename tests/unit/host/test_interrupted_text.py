"""An interrupt inside text that is executed, as dataclasses are made by when they are imported."""

import subprocess
import sys

RUN = """
import signal

from disdel import __main__ as command

# Whoever runs the tests may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted():
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")

command._run = interrupted
command.main()
"""


def test_a_command_that_python_runs_as_a_module_ends_with_its_own_code(tmp_path):
    (tmp_path / "interrupted.py").write_text(RUN)
    ended = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
