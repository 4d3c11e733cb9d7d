"""Compiled networks within OpenWhisk's own limits, on its own Python."""

import io
import json
import os
import platform
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from disdel.compiler import compile_program
from disdel.compiler.bytecode import python_for
from disdel.compiler.packages import own_python
from disdel.controller.invoking.bundle import build_bundle, library
from disdel.errors import UsageError
from disdel.models import built_in
from disdel.protocol.messages import to_json
from openwhisk_local.machine.gpu import first_gpu
from tests.support import command
from tests.support.compiled import JOB

pytestmark = pytest.mark.framework

MODEL = built_in("cnn", input_shape=(8, 8, 1), classes=4)
TRAIN = """
import json
import sys
sys.path[:0] = [sys.argv[1]]
import numpy as np
from disdel.protocol.messages import Network, from_json
from disdel.types.specs import ModelSpec
from disdel.worker.network import TrainerCache
import disdel.worker.tasks

network = Network(
    runtime="compiled",
    model=from_json(ModelSpec, json.loads(sys.argv[2])),
    optimizer="adam",
    learning_rate=0.01,
    seed=0,
    threads=1,
)
trainers = TrainerCache()
trainers.import_framework("compiled")
trainer = trainers.get(network, np.zeros((1, 8, 8, 1), np.uint8))
rng = np.random.default_rng(0)
y = rng.integers(0, 4, (40, 16)).astype(np.int32)
x = np.repeat(y[..., None] * 60, 64, axis=2).astype(np.uint8).reshape(40, 16, 8, 8, 1)
losses = [trainer.train(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]
assert losses[-1] < losses[0] / 2
strays = {
    name.partition(".")[0]
    for name, module in sys.modules.items()
    if "site-packages" in (getattr(module, "__file__", None) or "")
}
assert not strays, strays
print(losses)
"""


def bundled(program, python, *machines):
    """The train action of a program, as OpenWhisk takes it."""
    from disdel.compiler.packages import packages_zip
    from disdel.platforms.openwhisk.limits import CODE_BYTES

    files = {f"program/{path.name}": path.read_bytes() for path in program.iterdir()}
    try:
        packages = packages_zip(library(), python, machines or None)
    except UsageError as error:
        if not str(error).startswith("pip did not get"):
            raise
        pytest.skip(f"the package index cannot be reached: {error}")
    code = build_bundle("train", packages=packages, files=files)
    assert len(code) < CODE_BYTES
    return code


def started(code, folder, script, python):
    """What a script does with an action's zip and the standard library, without site-packages."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder)
    command = [*python, "-I", "-S", "-c", script, str(folder), json.dumps(to_json(MODEL))]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={})


def losses(code, folder, *python):
    done = started(code, folder, TRAIN, python or (sys.executable,))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def arm64_python():
    """The command of a Python for 64-bit Arm."""
    command = os.environ.get("DISDEL_ARM64_PYTHON")
    if not command:
        pytest.skip("set DISDEL_ARM64_PYTHON to what scripts/arm64-python FOLDER prints")
    return command.split()


def test_an_action_needs_nothing_that_is_not_in_its_zip(program, tmp_path):
    assert losses(bundled(program, own_python()), tmp_path)


def test_the_same_packages_make_the_same_zip(program, tmp_path, monkeypatch):
    code = bundled(program, own_python())
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    assert code == bundled(program, own_python())


def test_what_the_index_has_is_what_is_installed():
    """So that a host with another Python deploys the same bytes."""
    pytest.importorskip("iree.runtime")
    from disdel.compiler import packages

    own = packages.own_python()
    try:
        wheels = packages.downloaded(packages.pins(own), python=own, machine=platform.machine())
    except UsageError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    needed = {path: data for path, data in wheels.items() if packages._is_needed(path)}
    assert needed == packages._installed()


def test_an_older_python_trains_to_the_same_numbers(program, tmp_path):
    older = python_for("3.10")
    if older is None:
        pytest.skip("there is no Python 3.10 on the path, and none of pyenv's")
    found = losses(bundled(program, "3.10"), tmp_path / "older", older)
    assert found == losses(bundled(program, own_python()), tmp_path / "own")


def test_one_zip_trains_on_amd64_and_on_arm64(
    compiled_state_dir,
    arm64_python,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    program = compile_program(replace(JOB, targets=("x86-64-v2", "arm64")))
    code = bundled(program, "3.11", "x86_64", "aarch64")
    there = losses(code, tmp_path, *arm64_python)
    if (python := python_for("3.11")) is not None:
        assert losses(code, tmp_path, python) == pytest.approx(there, rel=1e-4)


def test_a_node_that_the_packages_are_not_for_is_named(
    program,
    arm64_python,
    tmp_path,
):
    imported = "import runpy, sys; runpy.run_path(sys.argv[1])"
    done = started(bundled(program, "3.11", "x86_64"), tmp_path, imported, arm64_python)
    assert "ImportError: this node is aarch64" in done.stderr
    assert "are for x86_64: try --arch amd64,arm64, or" in done.stderr


def test_a_run_within_the_default_limits(
    disdel,
    tmp_path,
):
    done = disdel(
        "train digits --workers 2 --batch 16 --epochs 3 --runtime compiled --json r.json "
        "--limits stock --memory-max=256 --timeout-max=60"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["plan"]["runtime"] == "compiled"
    assert report["totals"]["failed"] == 0
    assert report["accuracy"] > 0.8
    assert all(activation["memory_mb"] <= 256 for activation in report["activations"])
    peaks = [activation["peak_mb"] for activation in report["activations"]]
    assert max(peaks) <= 200
    assert (tmp_path / report["model"]).stat().st_size > 0


@pytest.mark.skipif(first_gpu() is not None, reason="auto takes the GPU, and compiles nothing")
def test_the_first_training_on_an_imported_data_set_finds_its_network_compiled(
    disdel, tmp_path, monkeypatch
):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DISDEL_DATA_DIR", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (96, 4, 4), np.uint8), np.arange(96) % 3
    np.savez(tmp_path / "squares.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    imported = disdel("dataset import squares squares.npz --samples images")
    assert imported.returncode == 0, imported.stderr
    assert "the network for it is compiled" in imported.stdout

    made = sorted((tmp_path / "state" / "compiled").iterdir())
    assert made
    done = disdel("train squares --epochs 1 --runtime compiled --quiet --json -")
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "state" / "compiled").iterdir()) == made

    again = disdel("dataset import numbers squares.npz --samples images --regression")
    assert again.returncode == 0, again.stderr
    assert "compiled" not in again.stdout
    assert sorted((tmp_path / "state" / "compiled").iterdir()) == made


OWN = """
import keras
from keras import layers

metrics = ["sparse_top_k_categorical_accuracy"]
{more}
def optimizer():
    return keras.optimizers.AdamW(0.01)

def preprocess(x):
    return x / 16

def bent(x):
    return keras.ops.maximum(x, 0.1 * x)

def make(input_shape, classes):
    hidden = [layers.Conv2D(8, 3, activation=bent), layers.Flatten(), layers.Dropout(0.1)]
    return keras.Sequential([keras.Input(input_shape), *hidden, layers.Dense(classes)])
"""


@pytest.fixture
def disdel(compiled_state_dir, tmp_path, monkeypatch):
    """Run the command in a folder of its own; the finished process."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))

    return lambda line: command.disdel(*line.split(), cwd=tmp_path, check=False)


SITE = """
import numpy as np

shares_labels = True

def clients(client, split):
    random = np.random.default_rng((client, split == "test"))
    y = random.integers(0, 10, 40 + 20 * client)
    # As bright as the label says.
    return random.integers(0, 2, (len(y), 8, 8, 1)) + y[:, None, None, None], y
"""


def test_clients_with_data_of_their_own_train_a_compiled_network(disdel, tmp_path):
    (tmp_path / "site.py").write_text(SITE)
    done = disdel(
        "federate digits --data site.py:clients --clients 3 --runtime compiled --model mlp "
        "--local-epochs 5 --learning-rate 0.1 --rounds 3 --evaluate-clients end --json r.json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["plan"]["runtime"] == "compiled"
    assert [e["weight"] for e in report["ledger"] if e["round"] == 2] == [200, 300, 400]
    first, _, last = (entry["train_loss"] for entry in report["rounds"])
    assert last < first
    assert report["client_scores"]["clients"] == 3
    assert [row["samples_most"] for row in report["label_map"]["rows"]] == [40, 60, 80]
    # Norms are numpy's own, which has no BLAS here.
    private = disdel(
        "federate digits --data site.py:clients --clients 3 --runtime compiled --model mlp "
        "--rounds 1 --average equal --dp-clip 1 --dp-noise 0.5"
    )
    assert private.returncode == 0, private.stderr


TRAIN_OWN = (
    "train digits --model net.py:make --runtime compiled --workers 2 --batch 16 --epochs 4 "
    "--json r.json"
)


def test_a_model_of_ones_own_is_compiled_and_evaluated(disdel, tmp_path):
    (tmp_path / "net.py").write_text(OWN.format(more=""))
    done = disdel(TRAIN_OWN)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["plan"]["runtime"] == "compiled"
    assert report["settings"]["optimizer"] == "adamw"
    assert report["accuracy"] > 0.8
    [*_, last] = report["rounds"]
    assert last["metrics"]["sparse_top_k_categorical_accuracy"] >= last["accuracy"]
    inferred = disdel("infer digits --quiet --json -")
    assert inferred.returncode == 0, inferred.stderr
    assert json.loads(inferred.stdout)["accuracy"] == pytest.approx(report["accuracy"])


def test_what_stands_beside_it_and_cannot_be_compiled_is_refused_before_a_run(disdel, tmp_path):
    (tmp_path / "net.py").write_text(OWN.format(more="def augment(x, y): return x, y"))
    done = disdel(TRAIN_OWN)
    assert done.returncode == 2, done.stderr
    assert "net.py:make: augment has no place in a compiled step" in done.stderr
    assert not (tmp_path / "runs").exists()
