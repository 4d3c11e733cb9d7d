"""The CPUs that modules are compiled for: flags of the compiler, and what the CPU must have."""

from __future__ import annotations

from disdel.errors import UsageError
from disdel.program import Target, cpu_flags

# The psABI's levels, in Linux's names (https://gitlab.com/x86-psABIs/x86-64-ABI).
_V2 = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

_LEVELS = {"x86-64-v4": _V4, "x86-64-v3": _V3, "x86-64-v2": _V2}

# For machines that are not known yet.
PORTABLE = tuple(_LEVELS)
# For this machine alone.
HOST = ("host",)

# Measured one by one in docs/compiled.md.
COMPILE_FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-opt-data-tiling",
    "--iree-llvmcpu-enable-ukernels=none",
    "--iree-llvmcpu-stack-allocation-limit=1048576",
)


def target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: there is none.
    """
    if name == "host":
        return Target(name=name, cpu_flags=tuple(sorted(cpu_flags())))
    if name not in _LEVELS:
        raise UsageError(f"unknown CPU {name!r}; known: host, {', '.join(_LEVELS)}")
    return Target(name=name, cpu_flags=_LEVELS[name])


def compile_flags(target: Target) -> list[str]:
    """The compiler's arguments for `target`."""
    return [*COMPILE_FLAGS, f"--iree-llvmcpu-target-cpu={target.name}"]
