"""The CPUs that modules are compiled for: flags of the compiler, and what the CPU must have."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from disdel.errors import UsageError
from disdel.protocol.program import CompileTarget, cpu_flags

# The psABI's levels, in Linux's names (https://gitlab.com/x86-psABIs/x86-64-ABI).
_V2 = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

_PORTABLE = (
    CompileTarget(name="x86-64-v4", machine="x86_64", cpu_flags=_V4),
    CompileTarget(name="x86-64-v3", machine="x86_64", cpu_flags=_V3),
    CompileTarget(name="x86-64-v2", machine="x86_64", cpu_flags=_V2),
    # Linux runs on no 64-bit Arm without floating point and NEON.
    CompileTarget(name="arm64", machine="aarch64", cpu_flags=()),
)
# The compiler's name of a CPU where it is not ours.
_GENERIC = {"arm64": "generic"}

# Kubernetes' names of CPU architectures, and Linux's, which `platform.machine` gives.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}

PORTABLE = tuple(target.name for target in _PORTABLE)
# For this machine alone.
HOST = ("host",)

# Measured one by one in docs/compiled.md.
COMPILE_FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-opt-data-tiling",
    "--iree-llvmcpu-enable-ukernels=none",
    "--iree-llvmcpu-stack-allocation-limit=1048576",
    # These make the compiler faster and the modules smaller, and change nothing that is executed.
    "--iree-opt-const-eval=false",
    "--iree-llvmcpu-debug-symbols=false",
    "--iree-vm-bytecode-module-strip-source-map=true",
    # After each of its passes, a quarter of its time.
    "--verify=false",
)


def portable(architectures: Iterable[str]) -> tuple[str, ...]:
    """The targets for machines of which no more is known, the fastest first.

    Args:
        architectures: as Kubernetes names them.

    Raises:
        UsageError: nothing can be compiled for one of them.
    """
    machines = []
    for name in architectures:
        if name not in ARCHITECTURES:
            raise UsageError(
                f"--arch: compiled networks run on {', '.join(ARCHITECTURES)}, and not on {name!r}"
            )
        machines.append(ARCHITECTURES[name])
    return tuple(target.name for target in _PORTABLE if target.machine in machines)


def target(name: str) -> CompileTarget:
    """The target of that name.

    Raises:
        UsageError: there is none.
    """
    if name == "host":
        return CompileTarget(
            name=name, machine=platform.machine(), cpu_flags=tuple(sorted(cpu_flags()))
        )
    for target in _PORTABLE:
        if target.name == name:
            return target
    raise UsageError(f"unknown CPU {name!r}; known: host, {', '.join(PORTABLE)}")


def has_wide_vectors(target: CompileTarget) -> bool:
    """Whether its vectors have 64 bytes, and are as many as those of AVX-512."""
    return "avx512f" in target.cpu_flags


def compile_flags(target: CompileTarget) -> list[str]:
    """The compiler's arguments for `target`."""
    return [
        *COMPILE_FLAGS,
        f"--iree-llvmcpu-target-triple={target.machine}-unknown-linux-gnu",
        f"--iree-llvmcpu-target-cpu={_GENERIC.get(target.name, target.name)}",
    ]
