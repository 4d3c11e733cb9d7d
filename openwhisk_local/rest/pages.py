"""What the platform says of itself, in the words of OpenWhisk's controller."""

from __future__ import annotations

from openwhisk_local.containers.images import manifest
from openwhisk_local.containers.isolation import Enforcement
from openwhisk_local.containers.namespaces import Isolation
from openwhisk_local.entities.fields import Json
from openwhisk_local.limits import (
    MAX_CONCURRENCY,
    MAX_LOGS_MB,
    MAX_PARAMETERS_BYTES,
    MAX_SEQUENCE,
    MIN_LOGS_MB,
    MIN_TIMEOUT_MS,
    PlatformLimits,
)
from openwhisk_local.machine.cpus import usable_cpus
from openwhisk_local.machine.gpu import first_gpu
from openwhisk_local.units import MIB

# From an answer until its container takes the next activation: until its log is collected.
SETTLE_MS = 20

API_INFO = {
    "description": "OpenWhisk API",
    "api_version": "1.0.0",
    "api_version_path": "v1",
    # Upstream's begins with its date.
    "build": "2026-disdel",
    "buildno": "embedded",
    "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
}


def platform_info(allowed: PlatformLimits, enforcement: Enforcement, isolation: Isolation) -> Json:
    """`GET /`: limits in bytes and milliseconds. `capacity` is this platform's own addition."""
    gpu = first_gpu()
    of_actions = {
        "min_action_duration": MIN_TIMEOUT_MS,
        "max_action_duration": allowed.max_timeout_ms,
        "min_action_memory": allowed.min_memory_mb * MIB,
        "max_action_memory": allowed.max_memory_mb * MIB,
        "min_action_logs": MIN_LOGS_MB * MIB,
        "max_action_logs": MAX_LOGS_MB * MIB,
    }
    return {
        "description": "OpenWhisk",
        "support": {
            "github": "https://github.com/apache/openwhisk/issues",
            "slack": "http://slack.openwhisk.org",
        },
        "api_paths": ["/api/v1"],
        "limits": {
            "actions_per_minute": allowed.invokes_per_minute,
            "triggers_per_minute": allowed.invokes_per_minute,
            "concurrent_actions": allowed.concurrent_invokes,
            "sequence_length": MAX_SEQUENCE,
            # Those of a namespace that has none of its own, as none has here.
            **{f"default_{name}": value for name, value in of_actions.items()},
            **of_actions,
        },
        "runtimes": manifest(),
        "capacity": {
            "user_memory_mb": allowed.user_memory_mb,
            "cpus": usable_cpus(),
            "gpu_memory_mb": None if gpu is None else gpu.memory_mb,
            "enforcement": enforcement.name,
            "process_limit": enforcement.task_limit,
            "isolation": isolation.name,
            "settle_ms": SETTLE_MS,
        },
    }


def namespace_limits(allowed: PlatformLimits) -> Json:
    """`GET /namespaces/_/limits`: in MB and milliseconds."""
    return {
        "invocationsPerMinute": allowed.invokes_per_minute,
        "concurrentInvocations": allowed.concurrent_invokes,
        "firesPerMinute": allowed.invokes_per_minute,
        "minActionMemory": allowed.min_memory_mb,
        "maxActionMemory": allowed.max_memory_mb,
        "minActionLogs": MIN_LOGS_MB,
        "maxActionLogs": MAX_LOGS_MB,
        "minActionTimeout": MIN_TIMEOUT_MS,
        "maxActionTimeout": allowed.max_timeout_ms,
        "minActionConcurrency": 1,
        "maxActionConcurrency": MAX_CONCURRENCY,
        "maxParameterSize": f"{MAX_PARAMETERS_BYTES} B",
        "maxActionInstances": allowed.concurrent_invokes,
    }
