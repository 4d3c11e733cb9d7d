"""Training on a real GPU, by frameworks that see it; all of it is skipped where there is none."""

import json
import subprocess
import sys

import pytest

from openwhisk_local.machine.gpu import first_gpu
from tests.support import SUPPORT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.framework,
    pytest.mark.skipif(first_gpu() is None, reason="nvidia-smi tells of no GPU"),
]

SCRIPT = SUPPORT / "gpu_training.py"
SEES_GPU = {
    "tensorflow": "import tensorflow as tf; assert tf.config.list_physical_devices('GPU')",
    "torch": "import torch; assert torch.cuda.is_available()",
}


@pytest.fixture(params=sorted(SEES_GPU))
def runtime(request):
    done = subprocess.run([sys.executable, "-c", SEES_GPU[request.param]], capture_output=True)
    if done.returncode:
        pytest.skip(f"{request.param} sees no GPU here: is it built for CPUs alone?")
    return request.param


def begin(*setup):
    """A process of its own, as an action has, that has placed its network and waits."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(setup)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process):
    told, _ = process.communicate("train\n")
    assert process.returncode == 0
    return json.loads(told)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_trains_as_a_cpu_does(runtime, precision):
    on_cpu, on_gpu = (end(begin(runtime, memory_mb, precision)) for memory_mb in (0, 2048))
    assert on_cpu["gpu_mb"] == 0 < on_gpu["gpu_mb"]
    assert on_gpu["loss"] == pytest.approx(on_cpu["loss"], rel=0.02)
    assert on_gpu["scored"] == pytest.approx(on_cpu["scored"], rel=0.02)
    assert on_gpu["in_ram"]


def test_two_processes_share_a_gpu_each_within_its_part(runtime):
    both = [begin(runtime, 1024, "float32") for _ in range(2)]
    for told in map(end, both):
        assert 0 < told["gpu_mb"] <= 1024
