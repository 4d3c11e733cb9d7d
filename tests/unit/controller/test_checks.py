"""How the doctor reads a container's answer."""

import dataclasses
import types

from disdel.controller.planning.checks import as_measured, limits_check, read_probe
from disdel.controller.planning.history import history_of
from disdel.planner.observations import Observation
from disdel.platforms.base import ActionSpec
from disdel.protocol import messages
from disdel.runtimes.registry import TENSORFLOW, TORCH
from disdel.settings import Settings
from tests.support.fake_platform import CAPACITY, activation

SPEC = ActionSpec(
    name="train", image="disdel/runtime-base:1", code=b"", memory_mb=128, timeout_s=60
)


def test_an_action_that_does_not_reach_redis_says_which_address_it_tried():
    error = {"kind": "connection", "message": "no Redis answers at redis://10.0.0.9:6379 (timeout)"}
    check = read_probe(SPEC, activation(1, "train", {"error": error}))
    assert not check.ok
    assert "redis://10.0.0.9:6379" in check.detail
    assert "--redis" in check.detail


def test_any_other_failure_is_told_as_it_is():
    record = activation(1, "train", {"error": "No module named 'keras'"})
    check = read_probe(SPEC, record)
    assert not check.ok
    assert check.detail == "error: No module named 'keras'"


def test_a_container_tells_what_it_is():
    reply = messages.ProbeReply(
        python="3.11.9",
        packages=(messages.Package(name="numpy", version="2.4"),),
        memory_limit_mb=None,
        cpus=8,
        peak_mb=30,
    )
    check = read_probe(SPEC, activation(1, "train", messages.to_json(reply)))
    assert check.ok
    assert check.name == "runtime-base"
    assert "python 3.11.9, numpy 2.4; sees no memory limit, 8 CPUs, no GPU" in check.detail
    on_gpu = dataclasses.replace(reply, gpu="NVIDIA T4", gpu_memory_mb=15360)
    check = read_probe(SPEC, activation(1, "train", messages.to_json(on_gpu)))
    assert "8 CPUs, NVIDIA T4 with 15360 MB" in check.detail


def test_a_platform_that_is_too_small_says_which_setting_to_raise():
    capacity = dataclasses.replace(CAPACITY, memory_max_mb=256)
    session = types.SimpleNamespace(capacity=capacity, description="OpenWhisk at https://whisk")
    check = limits_check(session, [TENSORFLOW, TORCH])
    assert not check.ok
    assert "allows 256 MB an action, and tensorflow alone needs" in check.detail
    assert "helm: whisk.limits.actions.memory.max" in check.detail


def test_a_slow_namespace_is_told():
    capacity = dataclasses.replace(CAPACITY, invokes_per_minute=60)
    session = types.SimpleNamespace(capacity=capacity, description="OpenWhisk at https://whisk")
    assert "whisk.limits.actionsInvokesPerminute" in limits_check(session, [TORCH]).detail


def test_a_framework_is_asked_for_with_the_memory_that_its_build_was_seen_to_take():
    settings = Settings()
    seen = Observation(
        model="any",
        batch_size=64,
        shard_samples=100,
        threads=1,
        predicted_mb=10,
        working_set_mb=400,
        framework_anonymous_mb=290,
        framework_mapped_mb=70,
    )
    history_of(TORCH, settings).append([seen])
    [torch, tensorflow] = as_measured([TORCH, TENSORFLOW], settings)
    assert torch.costs.floor_mb == 290 + 70 + TORCH.costs.held.tracing_anonymous_mb
    assert tensorflow == TENSORFLOW
