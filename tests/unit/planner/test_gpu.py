"""A GPU that actions share: what is seen of it, planned with it, and said to the frameworks.

No GPU takes part: `tests/integration/test_gpu.py` is for machines that have one.
"""

import dataclasses
import subprocess
from types import SimpleNamespace

import pytest

from disdel.controller.planning.history import history_of
from disdel.controller.training.crew import Crew
from disdel.controller.training.fleet import Fleet
from disdel.errors import InsufficientMemory
from disdel.planner.gpu import CONTEXT_MB, HOST_MB, gpu_tensors_mb
from disdel.runtimes.devices import choose_keras_device, choose_torch_device
from disdel.runtimes.registry import COMPILED, TENSORFLOW
from disdel.settings import Settings
from disdel.types import Limits, TrainJob
from disdel.types.units import MIB
from openwhisk_local.machine.gpu import Gpu, first_gpu
from tests.support.planning import CNN, capacity, plan, question, work


@pytest.fixture
def told(monkeypatch):
    """The GPU that a machine has where `nvidia-smi` prints a text, or fails with an error."""

    def told(text):
        def run(command, **options):
            assert command[0] == "nvidia-smi"
            if isinstance(text, Exception):
                raise text
            return subprocess.CompletedProcess(command, 0, stdout=text)

        monkeypatch.setattr(subprocess, "run", run)
        first_gpu.cache_clear()
        return first_gpu()

    yield told
    first_gpu.cache_clear()


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("NVIDIA T4, 15360\nNVIDIA A100, 40960\n", Gpu(name="NVIDIA T4", memory_mb=15360)),
        ("NVIDIA A, rev. 2, 24576\n", Gpu(name="NVIDIA A, rev. 2", memory_mb=24576)),
        ("", None),
        ("No devices were found\n", None),
        ("NVIDIA GB10, [N/A]\n", None),
        (FileNotFoundError("nvidia-smi"), None),
        (subprocess.CalledProcessError(9, "nvidia-smi"), None),
        (subprocess.TimeoutExpired("nvidia-smi", 10), None),
    ],
)
def test_the_first_gpu_is_what_the_tool_tells_of_it(told, text, gpu):
    assert told(text) == gpu


def on_gpu(memory_mb, **limits):
    return {"platform": capacity(gpu_memory_mb=memory_mb, cpus=4), "limits": Limits(**limits)}


def test_tensors_by_hand():
    # Four copies of the weights and the training step of 256 samples as in RAM, a quarter more and
    # 512 MB, in steps of 32.
    floats = 33_370 + 3 * 21_632
    step = 256 * floats * 4 + 256 * 788 * 32 * 2
    wanted_mb = (4 * 4 * 693_962 + step) / MIB * 1.25 + 512
    found = gpu_tensors_mb(work(batch_size=256))
    assert found % 32 == 0
    assert wanted_mb <= found < wanted_mb + 32


def test_actions_that_share_a_gpu_fit_in_it_together():
    made = plan(**on_gpu(4096))
    action_mb = made.gpu_memory_mb + CONTEXT_MB
    assert made.workers * action_mb <= 4096
    assert made.gpu_actions == 4096 // action_mb
    # The host's side of CUDA is in the estimate of RAM.
    assert made.estimate.framework == plan().estimate.framework + HOST_MB * MIB


def test_a_gpu_that_is_too_small_cuts_batches_and_workers():
    job = TrainJob(dataset="mnist", batch_size=4096)
    roomy, tight = plan(job, **on_gpu(80_000)), plan(job, **on_gpu(2000))
    assert (roomy.micro_batches, roomy.workers) == (1, 4)
    assert tight.micro_batches > 1
    assert tight.workers == tight.gpu_actions == 1


def test_workers_that_do_not_fit_in_the_gpu_are_told_need_limit_and_change():
    with pytest.raises(InsufficientMemory) as refused:
        plan(TrainJob(dataset="mnist", workers=3), **on_gpu(2000))
    said = str(refused.value)
    assert "the GPU that the actions share has 2000 MB" in said
    assert "3 × " in said
    assert "train on the CPU with --gpu-memory off" in said
    assert "use --workers 1" in said


@pytest.mark.parametrize(
    ("offered", "asked", "planned"),
    [(None, None, None), (8000, 4000, 4000), (8000, 9000, 8000), (None, 4000, 4000), (8000, 0, 0)],
)
def test_the_memory_that_actions_share_is_the_platforms_or_the_users(offered, asked, planned):
    assert question(**on_gpu(offered, gpu_memory_mb=asked)).gpu_memory_mb == planned


def test_a_compiled_network_uses_no_gpu():
    asked = question(**on_gpu(8000))
    assert asked.gpu_memory_mb == 8000
    assert dataclasses.replace(asked, shipped=COMPILED.costs).gpu_memory_mb == 0


def test_a_late_worker_gets_no_copy_that_the_gpu_does_not_hold():
    def has_room(gpu_actions):
        made = dataclasses.replace(plan(TrainJob(dataset="mnist", workers=2)), pool_mb=None)
        made = dataclasses.replace(made, gpu_actions=gpu_actions)
        return Fleet(
            TrainJob(dataset="mnist"), Crew(made, None, None), CNN, None, None, None, None
        )._has_room(0)

    assert [has_room(actions) for actions in (None, 2, 3)] == [True, False, True]


def test_without_a_gpu_a_plan_is_what_it_was():
    without = plan(platform=capacity(cpus=4))
    assert (without.gpu_memory_mb, without.gpu_actions) == (None, None)
    off = plan(**on_gpu(8000, gpu_memory_mb=0))
    assert dataclasses.replace(off, gpu_memory_mb=None) == without


def test_what_containers_with_a_gpu_took_is_a_history_of_its_own(told):
    told(FileNotFoundError("nvidia-smi"))
    asked = Settings(limits=Limits(gpu_memory_mb=8000))
    off = Settings(limits=Limits(gpu_memory_mb=0))
    without = history_of(TENSORFLOW, Settings())
    # Where there is none, it makes no difference.
    assert history_of(TENSORFLOW, asked) == without
    told("NVIDIA T4, 15360\n")
    assert history_of(TENSORFLOW, Settings()) == history_of(TENSORFLOW, asked) != without
    assert history_of(TENSORFLOW, off) == without


@pytest.mark.framework
@pytest.mark.parametrize(
    ("memory_mb", "said"),
    [
        (0, [("visible", [])]),
        (None, [("visible", ["gpu:0"]), ("growth", "gpu:0", True)]),
        (900, [("visible", ["gpu:0"]), ("limit", "gpu:0", 900)]),
    ],
)
def test_tensorflow_is_told_of_the_first_gpu_before_it_begins(monkeypatch, memory_mb, said):
    import tensorflow as tf

    heard = []
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: ["gpu:0", "gpu:1"])
    monkeypatch.setattr(
        config, "set_visible_devices", lambda gpus, kind: heard.append(("visible", gpus))
    )
    monkeypatch.setattr(
        config.experimental,
        "set_memory_growth",
        lambda gpu, grows: heard.append(("growth", gpu, grows)),
    )
    monkeypatch.setattr(
        config,
        "set_logical_device_configuration",
        lambda gpu, limits: heard.append(("limit", gpu, limits[0].memory_limit)),
    )
    choose_keras_device(memory_mb)
    assert heard == said


@pytest.mark.framework
@pytest.mark.parametrize(
    ("memory_mb", "kind", "fraction"),
    [(0, "cpu", None), (None, "cuda", None), (4096, "cuda", 0.25), (99_999, "cuda", 1.0)],
)
def test_pytorch_is_given_its_share_of_the_gpu(monkeypatch, memory_mb, kind, fraction):
    import torch

    heard = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(total_memory=16_384 * MIB),
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: heard.append(share)
    )
    assert choose_torch_device(memory_mb).type == kind
    assert heard == ([] if fraction is None else [fraction])


@pytest.mark.framework
@pytest.mark.parametrize("memory_mb", [None, 0, 900])
def test_without_a_gpu_frameworks_compute_on_the_cpu_whatever_was_planned(monkeypatch, memory_mb):
    import tensorflow as tf
    import torch

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choose_keras_device(memory_mb)
    assert choose_torch_device(memory_mb) == torch.device("cpu")
