"""Runs that come no further than a round until a test lets them.

`disdel` with it, as a command: `python -m tests.support.held train digits …`.
"""

import io
import zipfile
from dataclasses import replace

from disdel import __main__ as command
from disdel.controller.training import train as train_module

MAIN = """
import os
import time

from disdel.worker import tasks

action = tasks.TrainAction()


def main(args):
    said = args.get("env", {})
    if "WAIT" in said and args.get("round", 0) >= int(said["WAIT_ROUND"]):
        if container := os.environ.get("DISDEL_CONTAINER"):
            open(f"{said['WAIT']}-{container}", "w").close()
        end = time.monotonic() + 120
        while not os.path.exists(said["WAIT"]) and time.monotonic() < end:
            time.sleep(0.02)
    return action(args)
"""


def until(path, round_):
    """Options of a run whose containers do nothing of a round, nor of later ones, before a file is.

    Its controller can be killed meanwhile, and the run is not over.
    """
    return ("--action-env", f"WAIT={path}", "--action-env", f"WAIT_ROUND={round_}")


def waiting(path):
    """The containers of the embedded platform that are in an activation of such a round."""
    return {each.name.removeprefix(f"{path.name}-") for each in path.parent.glob(f"{path.name}-*")}


def held(code, before=""):
    """The zip of a train action that waits where it is told to; `before` is what it runs first."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(code)) as bundle,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for member in bundle.namelist():
            text = before + MAIN if member == "__main__.py" else bundle.read(member)
            archive.writestr(member, text)
    return buffer.getvalue()


def held_action(name, *others, **settings):
    """In the place of `controller.train._action`."""
    made = _real_action(name, *others, **settings)
    return replace(made, code=held(made.code)) if name == "train" else made


_real_action = train_module._action

if __name__ == "__main__":
    train_module._action = held_action
    command.main()
