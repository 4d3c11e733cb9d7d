"""The lines of a run while it happens."""

import io

from disdel.events import RoundStarted, WorkerProgress
from disdel.report.lines import ROUND_HEADING
from disdel.report.views import LiveView, PlainView


def started(number, **facts):
    return RoundStarted(**{"round": number, "first": False, "rounds": 5, "workers": 2, **facts})


def test_rounds_have_one_heading_also_of_a_run_that_goes_on():
    shown = io.StringIO()
    view = PlainView(shown, shown)
    view(started(3, first=True))
    view(started(4))
    assert shown.getvalue() == f"{ROUND_HEADING}\n"


def test_the_table_has_the_workers_of_the_round():
    view = LiveView()
    view(started(3, first=True))
    view(WorkerProgress(worker=1, state="training"))
    view(started(4, workers=3))
    assert [str(cell) for cell in view._table().columns[1].cells] == [
        "starting",
        "training",
        "starting",
    ]
    view(started(5, workers=1))
    assert [str(cell) for cell in view._table().columns[0].cells] == ["0"]
