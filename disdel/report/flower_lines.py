"""The sentences of a Flower app's run."""

from __future__ import annotations

from collections import Counter, defaultdict

from disdel.types.events import FlowerPlanned
from disdel.types.flower import FlowerReport, MessageEntry
from disdel.types.units import format_bytes
from disdel.types.words import counted

# Of rounds; `--json` has them all.
_ROUNDS_SHOWN = 20


def flower_plan_lines(event: FlowerPlanned) -> list[str]:
    """The plan in a few lines."""
    plan = event.plan
    at_once = counted(plan.containers, "container")
    return [
        f"plan    {event.run}",
        f"        {plan.app} {plan.version} (flwr {plan.flwr}): {counted(plan.nodes, 'node')} in "
        f"turn in {at_once} × {plan.memory_mb} MB, time limit {plan.timeout_s:g} s",
        f"        memory  {plan.basis}",
    ]


def flower_summary_lines(report: FlowerReport) -> list[str]:
    """What became of the messages, by round and type, and the numbers that nodes have sent."""
    lines = [f"        {_all(report.messages)}"]
    groups: dict[tuple[int, str], list[MessageEntry]] = defaultdict(list)
    for entry in report.messages:
        groups[entry.round, entry.type].append(entry)
    shown = list(groups.items())[-_ROUNDS_SHOWN:]
    if shown:
        lines.append(
            f"        {'round':>5}  {'type':<10}  answered       sent   replies    GB·s  means"
        )
    for (number, kind), entries in shown:
        answered = [entry for entry in entries if entry.outcome == "ok"]
        lines.append(
            f"        {number:>5}  {kind:<10}  {len(answered):>3} of {len(entries):<3}  "
            f"{format_bytes(sum(e.sent_bytes for e in entries)):>8}  "
            f"{format_bytes(sum(e.reply_bytes for e in entries)):>8}  "
            f"{sum(e.gb_s for e in entries):>6.1f}  {_means(answered)}".rstrip()
        )
    if hidden := len(groups) - len(shown):
        lines.append(f"        and {hidden} more before, in the report")
    return lines


def _all(messages: tuple[MessageEntry, ...]) -> str:
    outcomes = Counter(entry.outcome for entry in messages)
    bad = ", ".join(f"{outcomes[kind]} {kind}" for kind in outcomes if kind != "ok")
    return f"{counted(len(messages), 'message')} to nodes{f': {bad}' if bad else ', all answered'}"


def _means(entries: list[MessageEntry]) -> str:
    """Plain means over nodes of the numbers that all of them have sent."""
    if not entries:
        return ""
    names = [name for name in entries[0].metrics if all(name in e.metrics for e in entries)]
    return "  ".join(
        f"{name} {sum(e.metrics[name] for e in entries) / len(entries):.4g}" for name in names[:4]
    )
