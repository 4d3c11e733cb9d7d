"""The tables, from the runs alone.

    python experiments/memory/tables.py experiments/memory/results.json

writes the `results.md` beside the results again.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# More than what equal runs differ by.
THRASHING_SLOWDOWN = 1.15
MODE_TITLES = {
    "new": "disdel, nothing measured before",
    "learned": "disdel, with a history",
    "sap": "disdel, `--estimator sap`",
    "frugal": "disdel, `--optimize memory`",
    "brute": "brute force, TFDS pipeline",
    "single": "one action, TFDS pipeline, limit known",
    "brute-lean": "brute force, arrays",
    "single-lean": "one action, arrays, limit known",
}
SUMMED = ("total_memory_mb", "wall_s", "gb_s", "containers", "restarted", "failed")


def _step_s(run: dict) -> float:
    return run["train_s"] / run["steps"]


def _wall_s(run: dict) -> float:
    return run["wall_s"]


def slowdown(
    runs: Sequence[dict], configuration: str, mode: str, time_of: Callable[[dict], float] = _step_s
) -> float | None:
    """Time of a training step within the limit over that without, the faster of repeats each.

    None where either is missing or failed, or where they were not planned alike.
    """
    limited = _fastest(runs, configuration, mode, time_of)
    free = _fastest(runs, configuration, "unlimited", time_of)
    if limited is None or free is None:
        return None
    if any(limited[field] != free[field] for field in ("runtime", "workers", "micro_batches")):
        return None
    return time_of(limited) / time_of(free)


def _fastest(
    runs: Sequence[dict], configuration: str, mode: str, time_of: Callable[[dict], float]
) -> dict | None:
    ended = [r for r in _of(runs, mode, configuration) if r["status"] == "ok" and r["steps"]]
    return min(ended, key=time_of, default=None)


def _of(runs: Iterable[dict], mode: str, configuration: str | None = None) -> list[dict]:
    return [
        run for run in runs if run["mode"] == mode and configuration in (None, run["configuration"])
    ]


def headroom(run: dict) -> float | None:
    """The planned limit over the largest working set of a train container."""
    return run["memory_mb"] / run["working_set_mb"] if run.get("working_set_mb") else None


def tables(machine: dict, runs: Sequence[dict]) -> str:
    """Everything that the runs say, as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join(
        [
            f"Machine: {facts}.",
            "",
            "## Do plans fit?",
            "",
            *_verdict(runs),
            "",
            "Each configuration, without and with a history. Estimates are in MB by part.",
            "",
            *_each_plan(runs),
            "",
            "## By hand",
            "",
            *_by_hand(runs),
            "",
            "Each of these configurations:",
            "",
            *_each_by_hand(runs),
            "",
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *rows]
    return ["| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _verdict(runs: Sequence[dict]) -> list[str]:
    rows = []
    for mode in ("new", "learned"):
        ours = _of(runs, mode)
        first = [run for run in ours if run["repeat"] == 0]
        room = [ratio for run in first if (ratio := headroom(run)) is not None]
        slow, whole = (
            [
                ratio
                for run in first
                if (ratio := slowdown(runs, run["configuration"], mode, time_of)) is not None
            ]
            for time_of in (_step_s, _wall_s)
        )
        rows.append(
            [
                MODE_TITLES[mode],
                len(first),
                sum(run["status"] == "refused" for run in first),
                sum(run["status"] == "failed" for run in first),
                *(_sum(ours, field) for field in ("killed", "timed_out", "continued_memory")),
                f"{sum(ratio > THRASHING_SLOWDOWN for ratio in slow)} of {len(slow)}",
                max(slow, default=None),
                max(whole, default=None),
                statistics.median(room) if room else None,
                max(room, default=None),
                min(room, default=None),
            ]
        )
    return _table(
        [
            "",
            "configurations",
            "refused",
            "failed",
            "killed",
            "timed out at first",
            "asked for memory",
            f"steps slower than ×{THRASHING_SLOWDOWN:g}",
            "slowest steps",
            "slowest whole command",
            "limit ÷ working set, median",
            "most",
            "least",
        ],
        rows,
    )


def _sum(runs: Iterable[dict], field: str) -> float:
    return sum(run.get(field) or 0 for run in runs)


def _each_plan(runs: Sequence[dict]) -> list[str]:
    rows = []
    for name in _names(runs):
        for mode in ("new", "learned"):
            for run in _of(runs, mode, name)[:1]:
                parts = run.get("estimate_mb")
                rows.append(
                    [
                        name,
                        mode,
                        run.get("runtime"),
                        run.get("workers"),
                        run.get("micro_batches"),
                        " + ".join(f"{parts[p]:.0f}" for p in ("pkg", "dta", "mod", "fit", "saf"))
                        if parts
                        else run["status"],
                        run.get("memory_mb"),
                        run.get("working_set_mb"),
                        run.get("peak_mb"),
                        headroom(run),
                        slowdown(runs, name, mode),
                        run.get("killed"),
                        run.get("timed_out"),
                        run.get("continued_memory"),
                        run.get("predicted_s"),
                        run["wall_s"],
                        run.get("accuracy"),
                    ]
                )
    return _table(
        [
            "configuration",
            "history",
            "runtime",
            "workers",
            "parts of a batch",
            "pkg + dta + mod + fit + saf",
            "limit",
            "working set",
            "charged",
            "limit ÷ working set",
            "slower",
            "killed",
            "timed out",
            "asked for memory",
            "predicted s",
            "wall s",
            "accuracy",
        ],
        rows,
    )


def _names(runs: Iterable[dict]) -> list[str]:
    return list(dict.fromkeys(run["configuration"] for run in runs))


def _first(runs: Sequence[dict], mode: str, name: str) -> dict | None:
    return next(iter(_of(runs, mode, name)), None)


def _by_hand(runs: Sequence[dict]) -> list[str]:
    """As the thesis's Tables 5.2 and 5.3, where 45 % of memory and 58 % of time were saved."""
    ended, left_out = [], []
    modes = {mode: title for mode, title in MODE_TITLES.items() if _of(runs, mode)}
    for name in _names(_of(runs, "brute")):
        missing = [
            mode
            for mode in modes
            if (run := _first(runs, mode, name)) is None or run["status"] != "ok"
        ]
        if missing:
            left_out.append(f"{name} ({', '.join(missing)})")
        else:
            ended.append(name)
    by_set: dict[str, list[str]] = {}
    for name in ended:
        by_set.setdefault(name.partition("-")[0], []).append(name)
    if len(by_set) > 1:
        by_set["all"] = ended
    rows = []
    for title, names in by_set.items():
        brute = _sums(runs, "brute", names)
        for mode, mode_title in modes.items():
            sums = _sums(runs, mode, names)
            rows.append(
                [
                    f"{title} ({len(names)})",
                    mode_title,
                    sums["total_memory_mb"],
                    sums["wall_s"],
                    sums["gb_s"],
                    sums["containers"],
                    sums["restarted"],
                    f"{sums['failure_rate']:.0%}",
                    *(
                        None if mode == "brute" else f"{1 - sums[field] / brute[field]:.0%}"
                        for field in ("total_memory_mb", "wall_s", "gb_s")
                    ),
                ]
            )
    sums_of = "Sums over the configurations of each data set that ended in all of the ways."
    if left_out:
        sums_of += f" Left out, since some did not: {'; '.join(left_out)}."
    table = _table(
        [
            "data set (configurations)",
            "how",
            "MB of all containers",
            "s",
            "GB·s",
            "containers",
            "restarts",
            "failure rate",
            "memory saved of brute force",
            "time saved",
            "GB·s saved",
        ],
        rows,
    )
    return [sums_of, "", *table]


def _sums(runs: Sequence[dict], mode: str, names: Iterable[str]) -> dict[str, float]:
    own = [run for name in names if (run := _first(runs, mode, name)) is not None]
    sums = {field: _sum(own, field) for field in SUMMED}
    sums["failure_rate"] = statistics.mean(run["failure_rate"] for run in own)
    return sums


def _each_by_hand(runs: Sequence[dict]) -> list[str]:
    rows = []
    for name in _names(_of(runs, "brute")):
        for mode, mode_title in MODE_TITLES.items():
            run = _first(runs, mode, name)
            if run is not None:
                rows.append(
                    [
                        name,
                        mode_title,
                        run["status"],
                        run.get("memory_mb"),
                        run.get("total_memory_mb"),
                        run["wall_s"],
                        run.get("gb_s"),
                        run.get("containers"),
                        run.get("restarted"),
                        run.get("killed"),
                        run.get("timed_out"),
                        run.get("accuracy"),
                    ]
                )
    return _table(
        [
            "configuration",
            "how",
            "",
            "limit MB",
            "MB of all containers",
            "s",
            "GB·s",
            "containers",
            "restarts",
            "killed",
            "timed out",
            "accuracy",
        ],
        rows,
    )


def main() -> None:
    path = Path(sys.argv[1])
    stored = json.loads(path.read_text())
    path.with_suffix(".md").write_text(tables(stored["machine"], stored["runs"]))


if __name__ == "__main__":
    main()
