"""One command over platforms of four kinds at once, a container of each of which is killed.

OpenWhisk is the embedded platform, Lambda AWS's emulator, the executor Parsl's, the function
behind a URL what functions-framework serves.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from disdel.runtimes.registry import COMPILED
from tests.support import executors
from tests.support.environments import python_of
from tests.support.functions import served
from tests.support.lambda_emulator.server import ROLE
from tests.support.platforms import OWN_KIND, lambda_emulator

ROOT = Path(__file__).parents[2]
JOB = ("federate", "digits", "--rounds", "2", "--batch", "16", "--model", "mlp")
# Clients whose containers are killed, the first time that they read the samples of these.
KILLED = {"whisk": 1, "cloud": 4, "cluster": 5, "web": 8}
DATA = """
import os
import pathlib
import signal

import numpy as np

def counts():
    return [30 + client for client in range(10)]

def load(client, split):
    killed = pathlib.Path("FOLDER", f"killed-{client}")
    if os.environ.get("KILL") and client in KILLED and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    drawn = np.random.default_rng((client, split == "test"))
    n = counts()[client]
    return drawn.integers(0, 17, (n, 8, 8, 1), dtype=np.uint8), drawn.integers(0, 10, n)
"""


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


def run(folder, state, *arguments):
    """The report and the weights of a federation."""
    folder.mkdir()
    data = DATA.replace("FOLDER", str(folder)).replace("KILLED", str({*KILLED.values()}))
    (folder / "site.py").write_text(data)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISDEL_STATE_DIR": str(state)}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    done = subprocess.run(
        [
            *(python_of("executors"), "-m", "disdel", *JOB, "--data", "site.py:load", *arguments),
            *("--runtime", "compiled", "--quiet", "--json", "report.json"),
        ],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report.json").read_text())
    return report, (folder / report["model"]).read_bytes()


@pytest.mark.framework
@pytest.mark.skipif(OWN_KIND != "python:3.11", reason="the emulator has this machine's Python")
def test_kills_over_platforms_of_all_kinds_change_no_bit(tmp_path, compiled_state_dir):
    state = compiled_state_dir
    with lambda_emulator() as emulator:
        place = ("--platform-option", f"endpoint={emulator.url}")
        place += ("--platform-option", f"role={ROLE}")
        alone, wanted = run(tmp_path / "alone", state, "--platform", "lambda", *place)
        assert emulator.left() == []
    at = served("functions-framework", tmp_path / "function", runtime=COMPILED)
    with lambda_emulator() as emulator, at as function:
        file = tmp_path / "all.toml"
        file.write_text(fabric(emulator, function))
        kill = ("--action-env", "KILL=once")
        report, weights = run(tmp_path / "all", state, "--fabric", str(file), *kill)
        assert emulator.left() == []
        assert not function.children()
    killed = {path.name for path in (tmp_path / "all").glob("killed-*")}
    assert killed == {f"killed-{client}" for client in KILLED.values()}
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
