"""The endpoints of a run, as rows of text: what each is planned to do, and what it has done."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.types import EndpointPlan, EndpointReport

_INDENT = " " * 8


def plan_rows(
    endpoints: Sequence[EndpointPlan], *, of: str = "clients", step: str = "step"
) -> list[str]:
    """A row for each endpoint with a heading; nothing where there are none.

    Args:
        endpoints: what each is planned to do.
        of: what there are so many of at each.
        step: what takes the time that is given.
    """
    rows = [
        (
            one.endpoint,
            one.platform,
            str(len(one.workers)),
            f"{one.clients:g}",
            str(one.memory_mb),
            f"{one.timeout_s:g} s",
            f"{1000 * one.step_s:.3g} ms",
            f"{one.cold_start_s:.1f} s",
            f"{one.predicted_s:.0f} s",
            f"{one.gb_s:.1f}",
            _usd(one.usd),
        )
        for one in endpoints
    ]
    heads = ("endpoint", "platform", "containers", of, "MB each", "time limit", step)
    return _table((*heads, "cold start", "about", "GB·s", "USD"), rows)


def done_rows(endpoints: Sequence[EndpointReport]) -> list[str]:
    """The same of what each has done."""
    rows = [
        (
            one.endpoint,
            one.platform,
            str(one.containers),
            str(one.activations),
            str(one.failed),
            f"{one.init_s:.1f} s",
            f"{one.gb_s:.1f}",
            _usd(one.usd),
        )
        for one in endpoints
    ]
    heads = ("endpoint", "platform", "containers", "activations", "failed", "starts", "GB·s", "USD")
    return _table(heads, rows)


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else f"{usd:.6f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    # Words to the left, numbers to the right.
    return [
        _INDENT
        + "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    ]
