"""One command over platforms of four kinds at once, with kills at random.

OpenWhisk is the embedded platform, Lambda AWS's emulator, the executor Parsl's, the function
behind a URL what functions-framework serves.
"""

import contextlib
import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from disdel.runtimes.registry import COMPILED
from tests.support import executors
from tests.support.environments import python_of
from tests.support.functions import served
from tests.support.lambda_emulator.server import ROLE
from tests.support.platforms import OWN_KIND, lambda_emulator

ROOT = Path(__file__).parents[2]
JOB = ("federate", "digits", "--clients", "10", "--rounds", "2", "--batch", "16", "--model", "mlp")
# What the command line of a container's parent has on the one, and its own on two others.
PARENT_OF_WHISK, OF_CHILD = "proxy.py", "entry/container.py"


def fabric(emulator, function):
    return f"""
[endpoints.whisk]
platform = "embedded"
user_memory = 1024
containers = 1

[endpoints.cloud]
platform = "lambda"
endpoint = "{emulator.url}"
role = "{ROLE}"
cpus = 1

[endpoints.cluster]
platform = "executor"
executor = "{executors.__file__}:parsl"
memory_max = 512
containers = 1

[endpoints.web]
platform = "http"
address = "{function.url}"
memory_max = 512

[[clients]]
ids = "0-2"
endpoint = "whisk"

[[clients]]
ids = "3-4"
endpoint = "cloud"

[[clients]]
ids = "5-6"
endpoint = "cluster"

[[clients]]
ids = "7-8"
endpoint = "web"
"""


@contextlib.contextmanager
def killing(process, function, state, seed):
    """A container of each kind is killed at random while a command runs; yields which were."""
    killed, drawn, done = set(), random.Random(seed), threading.Event()

    def watch():
        while process.poll() is None and not done.is_set():
            time.sleep(0.05 + 0.3 * drawn.random())
            with contextlib.suppress(psutil.Error):
                # Parsl's workers are nobody's children.
                there = list(psutil.process_iter())
                drawn.shuffle(there)
                for one in there:
                    if (kind := kind_of(one, process.pid, function, state)) not in {None, *killed}:
                        one.kill()
                        killed.add(kind)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield killed
    finally:
        done.set()
        watching.join()


def kind_of(process, command, function, state):
    """Of which endpoint of this test a process is a container; None where it is none."""
    try:
        parent = process.parent()
        if parent is None:
            return None
        if OF_CHILD in " ".join(process.cmdline()):
            if function.process.pid in [one.pid for one in process.parents()]:
                return "web"
            mine = process.environ().get("DISDEL_STATE_DIR") == str(state)
            return "cluster" if mine else None
        if PARENT_OF_WHISK in " ".join(parent.cmdline()):
            return "whisk" if command in [one.pid for one in parent.parents()] else None
    except psutil.Error:
        pass
    return None


def run(folder, state, *arguments, function=None):
    """The report and the weights of a federation, and what was killed of one with a function."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISDEL_STATE_DIR": str(state)}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [
            *(python_of("executors"), "-m", "disdel", *JOB, "--runtime", "compiled", *arguments),
            *("--quiet", "--json", "report.json"),
        ],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        killed = set()
        if function is not None:
            killed = stack.enter_context(killing(process, function, state, seed=7))
        _, said = process.communicate()
    assert process.returncode == 0, said
    report = json.loads((folder / "report.json").read_text())
    return report, (folder / report["model"]).read_bytes(), killed


@pytest.mark.framework
@pytest.mark.skipif(OWN_KIND != "python:3.11", reason="the emulator has this machine's Python")
def test_kills_over_platforms_of_all_kinds_change_no_bit(tmp_path, compiled_state_dir):
    state = compiled_state_dir
    with lambda_emulator() as emulator:
        place = ("--platform-option", f"endpoint={emulator.url}")
        place += ("--platform-option", f"role={ROLE}")
        alone, wanted, _ = run(tmp_path / "alone", state, "--platform", "lambda", *place)
        assert emulator.left() == []
    at = served("functions-framework", tmp_path / "function", runtime=COMPILED)
    with lambda_emulator() as emulator, at as function:
        emulator.kills.update((2, 5))
        file = tmp_path / "all.toml"
        file.write_text(fabric(emulator, function))
        report, weights, killed = run(
            tmp_path / "all", state, "--fabric", str(file), function=function
        )
        assert emulator.left() == []
        assert not function.children()
    assert killed == {"whisk", "cluster", "web"}
    assert report["totals"]["failed"] >= 4
    assert {one["endpoint"]: one["activations"] > 0 for one in report["endpoints"]} == {
        "whisk": True,
        "cloud": True,
        "cluster": True,
        "web": True,
    }

    def updates(ended):
        return [(e["round"], e["client"], e["checksum"]) for e in ended["ledger"]]

    assert len(updates(report)) == 20
    assert updates(report) == updates(alone)
    assert weights == wanted
