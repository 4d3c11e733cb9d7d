"""A saved report as one HTML page: no script, no network, everything in it escaped."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from disdel.errors import UsageError
from disdel.report.axes import WIDTH
from disdel.report.bars import STYLES, Style, Timeline, timeline
from disdel.report.charts import Series, line_chart, memory_chart
from disdel.report.federated import federated
from disdel.types import Activation, RunReport
from disdel.types.timeline import TimeSplit, spans, split_time
from disdel.types.units import format_bytes

PAGE_NAME = "report.html"
_TEMPLATE = "report.html.j2"
# Lines of the ledger on a page; a federation may have a hundred thousand.
_MOST_LEDGER = 2000


@cache
def template() -> jinja2.Template:
    """What a page is made of; to read it takes as long as to make a page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE)


def render(report: RunReport) -> str:
    """The page of a report, of whatever a run came to."""
    split = split_time(report.activations, report.wall_s)
    return template().render(
        report=report,
        format_bytes=format_bytes,
        scored_on=_scored_on(report),
        tested_on=_tested_on(report),
        # What an app's own code did when, its activations do not tell.
        parts=_parts(split) if report.flower is None else [],
        whole=timeline(report.activations, 0.0, _end_s(report)),
        enlarged=_enlarged(report.activations),
        legend=_legend(report.activations),
        charts=[chart for chart in (_loss_chart(report), _accuracy_chart(report)) if chart],
        federated=federated(report),
        most_ledger=_MOST_LEDGER,
        memory=memory_chart(report.activations, _end_s(report)),
    )


def write_page(report: RunReport, path: Path) -> None:
    """Write the page of a report.

    Raises:
        UsageError: the file cannot be written.
    """
    page = render(report)
    try:
        file = path.open("w", encoding="utf-8", errors="xmlcharrefreplace")
        try:
            with file:
                file.write(page)
        except OSError:
            if path.is_file():
                path.unlink()  # Half a page is none.
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}") from error


def _scored_on(report: RunReport) -> str:
    """The samples that the rounds were scored on."""
    return report.scored_on or "held-out"


def _tested_on(report: RunReport) -> str:
    """The samples that the result is of, as a word before it; "" where nothing is known of them."""
    return "" if report.job == "infer" else "test " if report.splits else "held-out "


def _end_s(report: RunReport) -> float:
    """The end of the run; an answer may be later than it by the rounding."""
    ends = [one.times.received_ms / 1000 for one in report.activations if one.times is not None]
    return max([report.wall_s, *ends])


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the wall time, as a piece of a bar of `WIDTH` pixels."""

    name: str
    seconds: float
    share: float
    x: float
    width: float
    fill: str
    ink: str


def _parts(split: TimeSplit | None) -> list[Share]:
    if split is None:
        return []
    named = [
        ("start", split.start_s, STYLES["init"]),
        ("training", split.training_s, STYLES["train"]),
        ("preparing", split.preparing_s, STYLES["build"]),
        ("weights in and out", split.weights_s, STYLES["store"]),
        ("averaging", split.averaging_s, STYLES["average"]),
        ("scoring", split.scoring_s, STYLES["score"]),
        ("requests and answers", split.invoking_s, STYLES["reply"]),
        ("end", split.end_s, STYLES["wait"]),
    ]
    total_s = sum(seconds for _, seconds, _ in named)
    shares: list[Share] = []
    x = 0.0
    for name, seconds, style in named:
        share = seconds / total_s if total_s else 0.0
        shares.append(Share(name, seconds, share, x, share * WIDTH, style.fill, style.ink))
        x += share * WIDTH
    return shares


@dataclass(frozen=True, slots=True)
class Enlarged:
    """One round, over the whole width."""

    round: int
    timeline: Timeline


def _enlarged(activations: Sequence[Activation]) -> Enlarged | None:
    """The round of median length among those after the first, which starts the containers."""
    lengths: dict[int, tuple[float, float]] = {}
    for activation in activations:
        if activation.times is not None and activation.round > 1:
            start_s, stop_s = lengths.get(activation.round, (float("inf"), 0.0))
            lengths[activation.round] = (
                min(start_s, activation.times.submitted_ms / 1000),
                max(stop_s, activation.times.received_ms / 1000),
            )
    if not lengths:
        return None
    middle = statistics.median_low(stop_s - start_s for start_s, stop_s in lengths.values())
    number, (start_s, stop_s) = next(
        (number, ends) for number, ends in lengths.items() if ends[1] - ends[0] == middle
    )
    members = [activation for activation in activations if activation.round == number]
    return Enlarged(number, timeline(members, start_s, stop_s))


def _legend(activations: Sequence[Activation]) -> list[Style]:
    """The styles of the stages that occur, in the order of an activation."""
    seen = {span.stage for activation in activations for span in spans(activation)}
    return [style for stage, style in STYLES.items() if stage in seen]


_LINE, _OTHER_LINE = "#0072b2", "#b34700"


def _loss_chart(report: RunReport) -> object:
    scored = Series(
        f"{_scored_on(report)}, of the average",
        _LINE,
        False,
        [(r.round, r.loss) for r in report.rounds],
    )
    training = Series(
        "training, of the workers",
        _OTHER_LINE,
        True,
        [(r.round, r.train_loss) for r in report.rounds],
    )
    return line_chart("loss, mean over samples", [scored, training], label=lambda v: f"{v:.3g}")


def _accuracy_chart(report: RunReport) -> object:
    accuracy = Series(
        f"{_scored_on(report)}, of the average",
        _LINE,
        False,
        [(r.round, None if r.accuracy is None else 100 * r.accuracy) for r in report.rounds],
    )
    title = f"accuracy, % of the {_scored_on(report)} samples"
    return line_chart(title, [accuracy], label=lambda v: f"{v:.4g}")
