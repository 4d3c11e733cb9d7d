"""The costs of a runtime before anything was observed: the shipped ones, of the build that is here.

The shipped floor is that of a framework built for CPUs. Another build (one for CUDA maps several
times as much) would die at a limit that is planned with it, so where actions have this machine's
packages, what importing it takes is measured once, and kept beside the history of its containers.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from disdel.controller.planning.history import history_of
from disdel.host.environment import for_children
from disdel.host.helper import run_helper
from disdel.host.home import make_own
from disdel.platforms.registry import chosen
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from disdel.types import RuntimeCosts

_FIELDS = ("anonymous_mb", "mapped_mb")


def shipped_costs(runtime: Runtime, settings: Settings) -> RuntimeCosts:
    """What the runtime costs where nothing was observed, with what else its containers run.

    Where another build than the measured one cannot be imported, the shipped floor stays, and a run
    says what is wrong with it.
    """
    costs, traits = runtime.costs, chosen(settings).traits
    if not runtime.image:
        # It runs on the platform's own Python.
        costs = replace(costs, anonymous_mb=costs.anonymous_mb + traits.proxy_mb)
    if not traits.host_packages or runtime.has_measured_build() or not runtime.is_installed():
        return costs
    kept = history_of(runtime, settings).path.with_suffix(".import.json")
    found = _read(kept) or _measure(runtime, kept)
    if found is None:
        return costs
    anonymous_mb, mapped_mb = found
    return replace(
        costs,
        # A build that needs less than was shipped is left the difference until it was observed.
        anonymous_mb=max(costs.anonymous_mb, anonymous_mb + costs.held.tracing_anonymous_mb),
        mapped_mb=max(costs.mapped_mb, mapped_mb + costs.held.tracing_mapped_mb),
    )


def _read(kept: Path) -> tuple[int, int] | None:
    try:
        return _parsed(kept.read_text(encoding="utf-8"))
    except OSError:
        return None


def _parsed(text: str) -> tuple[int, int] | None:
    try:
        anonymous_mb, mapped_mb = (int(json.loads(text)[name]) for name in _FIELDS)
    except (ValueError, TypeError, KeyError):
        return None
    return anonymous_mb, mapped_mb


def _measure(runtime: Runtime, kept: Path) -> tuple[int, int] | None:
    """Anonymous and mapped memory after the import, in MB; None where it fails."""
    ended = run_helper(
        [sys.executable, "-P", "-m", "disdel.worker.measure", runtime.name],
        environ={**for_children(), **runtime.environment},
    )
    lines = ended.stdout.splitlines()
    found = _parsed(lines[-1]) if lines and ended.status == 0 else None
    if found is not None:
        try:
            make_own(kept.parent)
            kept.write_text(json.dumps(dict(zip(_FIELDS, found, strict=True))), encoding="utf-8")
        except OSError:
            pass  # the next plan takes a few seconds longer
    return found
