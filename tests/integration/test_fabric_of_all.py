"""One command over platforms of three kinds at once, with kills at random.

OpenWhisk is the embedded platform, Lambda AWS's emulator, the executor Parsl's.
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

from tests.support import executors
from tests.support.environments import python_of
from tests.support.lambda_emulator.server import ROLE
from tests.support.platforms import OWN_KIND, lambda_emulator

ROOT = Path(__file__).parents[2]
JOB = ("federate", "digits", "--clients", "10", "--rounds", "2", "--batch", "16", "--model", "mlp")
# What the command line of a container's parent has on the one, and its own on the other.
PARENT_OF_WHISK, OF_CLUSTER = "proxy.py", "entry/container.py"


def fabric(emulator):
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

[[clients]]
ids = "0-2"
endpoint = "whisk"

[[clients]]
ids = "3-5"
endpoint = "cloud"

[[clients]]
ids = "6-8"
endpoint = "cluster"
"""


@contextlib.contextmanager
def killing(process, state, seed):
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
                    if (kind := kind_of(one, process.pid, state)) not in {None, *killed}:
                        one.kill()
                        killed.add(kind)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield killed
    finally:
        done.set()
        watching.join()


def kind_of(process, command, state):
    """Of which endpoint of this test a process is a container; None where it is none."""
    try:
        parent = process.parent()
        if parent is None:
            return None
        if OF_CLUSTER in " ".join(process.cmdline()):
            mine = process.environ().get("DISDEL_STATE_DIR") == str(state)
            return "cluster" if mine else None
        if PARENT_OF_WHISK in " ".join(parent.cmdline()):
            return "whisk" if command in [one.pid for one in parent.parents()] else None
    except psutil.Error:
        pass
    return None


def run(folder, state, *arguments, kills=False):
    """The report and the weights of a federation, and what was killed."""
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
    with killing(process, state, seed=7) if kills else contextlib.nullcontext(set()) as killed:
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
    with lambda_emulator() as emulator:
        emulator.kills.update((2, 5))
        file = tmp_path / "all.toml"
        file.write_text(fabric(emulator))
        report, weights, killed = run(tmp_path / "all", state, "--fabric", str(file), kills=True)
        assert emulator.left() == []
    assert killed == {"whisk", "cluster"}
    assert report["totals"]["failed"] >= 3
    assert {one["endpoint"]: one["activations"] > 0 for one in report["endpoints"]} == {
        "whisk": True,
        "cloud": True,
        "cluster": True,
    }

    def updates(ended):
        return [(e["round"], e["client"], e["checksum"]) for e in ended["ledger"]]

    assert len(updates(report)) == 20
    assert updates(report) == updates(alone)
    assert weights == wanted
