"""Views of a run while it happens: silent, plain lines, or live.

Progress goes to stderr and the summary to stdout, so that a pipe gets the result alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Self, TextIO

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from disdel.host.streams import OutputLost, forget_output, on_one_line, say, terminal
from disdel.report.flower_lines import flower_plan_lines
from disdel.report.lines import (
    PROGRESS_HEADINGS,
    progress_cells,
    remaining_text,
    round_heading,
    round_line,
    summary_lines,
)
from disdel.report.plan_lines import infer_plan_lines, plan_lines
from disdel.types.events import (
    ActivationEnded,
    Event,
    FlowerPlanned,
    InferPlanMade,
    Noted,
    PlanMade,
    PlatformReady,
    RoundDone,
    RoundStarted,
    RunEnded,
    WorkerProgress,
)

# Between the columns of the workers' table, and which of them a narrow terminal does without.
_GAP = 3
_LEAST_TELLING = ("start", "epoch", "memory", "loss", "step")


class View:
    """Shows events until it is closed, when the run ends; this one shows nothing."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def open(self) -> None:
        """Take the screen."""

    def close(self) -> None:
        """Give it back."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def choose_view(*, quiet: bool) -> View:
    """The view for this terminal; one that is gone ends no run."""
    if quiet:
        return QuietView()
    return LastingView(LiveView() if sys.stderr.isatty() else PlainView())


class QuietView(View):
    """Says only what a user needs later: what is left somewhere, and how a run goes on."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Noted) and event.matters:
            say(f"note    {event.message}")


class LastingView(View):
    """A view as long as there is somewhere to show it: a terminal may close, a pipe's reader leave.

    What it would have shown is in the run's report.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._lost = False

    def __call__(self, event: Event) -> None:
        self._show(lambda: self._view(event))

    def open(self) -> None:
        self._show(self._view.open)

    def close(self) -> None:
        self._show(self._view.close)

    def _show(self, show: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            show()
        except (OSError, OutputLost, SystemExit) as error:
            # Rich takes a pipe without a reader for the end of the program.
            self._lost = True
            if isinstance(error, OutputLost):
                # Else it would be tried again when the command ends, and then fail that.
                forget_output()
            say(f"note    the run goes on, and its output is not shown: {error}")


class PlainView(View):
    """A line an event."""

    def __init__(self, progress: TextIO | None = None, result: TextIO | None = None) -> None:
        self._progress = progress or sys.stderr
        self._result = result or sys.stdout

    def __call__(self, event: Event) -> None:
        for line in progress_lines(event):
            self._show(on_one_line(line))
        if isinstance(event, RunEnded):
            for line in summary_lines(event):
                self._conclude(on_one_line(line))

    def _show(self, line: str) -> None:
        print(line, file=self._progress, flush=True)

    def _conclude(self, line: str) -> None:
        print(line, file=self._result, flush=True)


def progress_lines(event: Event) -> list[str]:
    """The lines that an event adds above the summary."""
    match event:
        case PlatformReady():
            return [f"on      {event.description}"]
        case PlanMade():
            return plan_lines(event)
        case InferPlanMade():
            return infer_plan_lines(event)
        case FlowerPlanned():
            return flower_plan_lines(event)
        case RoundStarted(first=True):
            return [
                round_heading(
                    event.scored_on, has_classes=event.has_classes, has_clients=event.has_clients
                )
            ]
        case RoundDone():
            return [round_line(event)]
        case Noted():
            return [f"note    {event.message}"]
        case _:
            return []


class LiveView(PlainView):
    """The plain lines, and under them a table of the workers that changes in place."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=terminal(), highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._workers: dict[int, WorkerProgress] = {}
        self._starts: dict[int, str] = {}
        # Else a worker's number is its client's, too.
        self._clients_take_turns = False
        self._remaining = ""

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            self.close()
        super().__call__(event)
        match event:
            case PlanMade(plan=plan, federation=federation):
                take_turns = len(plan.client_samples) != plan.workers
                self._clients_take_turns = take_turns or federation is not None
            case RoundStarted():
                self._workers = {
                    worker: self._workers.get(worker)
                    or WorkerProgress(worker=worker, state="starting")
                    for worker in range(event.workers)
                }
            case RoundDone():
                self._remaining = remaining_text(event)
            case WorkerProgress():
                self._workers[event.worker] = event
            case ActivationEnded(activation=activation) if activation.worker is not None:
                self._starts[activation.worker] = activation.start
            case RunEnded():
                return
        self._live.update(self._shown(), refresh=True)

    def _show(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def _shown(self) -> Group:
        remaining = Text(self._remaining, style="dim italic", no_wrap=True, overflow="crop")
        return Group(self._table(), *([remaining] if self._remaining else []))

    def _table(self) -> Table:
        rows = [
            tuple(map(on_one_line, progress_cells(progress, self._starts.get(worker, "cold"))))
            for worker, progress in sorted(self._workers.items())
        ]
        columns = list(range(len(PROGRESS_HEADINGS)))
        if not self._clients_take_turns:
            columns.remove(PROGRESS_HEADINGS.index("client"))
        shown = _that_fit((PROGRESS_HEADINGS, *rows), columns, self._console.width)
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
        for column in shown:
            heading = PROGRESS_HEADINGS[column]
            style = "cyan" if heading == "state" else ""
            table.add_column(heading, style=style, no_wrap=True, overflow="crop")
        for row in rows:
            table.add_row(*(Text(row[column]) for column in shown))
        return table


def _that_fit(rows: Sequence[Sequence[str]], columns: list[int], width: int) -> list[int]:
    """Those of the columns for which a terminal is wide enough; the least telling ones go first."""
    widths = [max(map(cell_len, column)) + _GAP for column in zip(*rows, strict=True)]
    shown = list(columns)
    for heading in _LEAST_TELLING:
        if sum(widths[column] for column in shown) - _GAP <= width:
            break
        shown.remove(PROGRESS_HEADINGS.index(heading))
    return shown
