"""The lines of a run while it happens."""

import io

import pytest

from disdel.events import Noted, RoundStarted, RunEnded, WorkerProgress
from disdel.report.lines import ROUND_HEADING
from disdel.report.views import LiveView, PlainView
from disdel.types import RunReport


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


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_pipe_gets_the_result_alone(kind, capsys):
    report = RunReport(
        run="r",
        job="train",
        dataset="digits",
        platform="embedded",
        status="ok",
        settings={},
        wall_s=1.5,
        accuracy=0.5,
        loss=0.25,
    )
    with kind() as view:
        view(Noted(message="on the way"))
        view(RunEnded(report=report, folder="runs/r"))
    shown = capsys.readouterr()
    assert "0.5000" in shown.out
    assert "on the way" not in shown.out
    assert "on the way" in shown.err
    assert "0.5000" not in shown.err
