"""The lines of a run while it happens."""

import io
from dataclasses import replace

import pytest

from disdel.report.lines import PROGRESS_HEADINGS, round_heading, summary_lines
from disdel.report.views import LiveView, PlainView
from disdel.types import ClientsReport, PrivacyReport, RoundReport, RunReport, TrainJob
from disdel.types.events import Noted, PlanMade, RoundDone, RoundStarted, RunEnded, WorkerProgress
from tests.support.planning import dataset, plan


def started(number, **facts):
    return RoundStarted(**{"round": number, "first": False, "rounds": 5, "workers": 2, **facts})


def test_rounds_have_one_heading_also_of_a_run_that_goes_on():
    shown = io.StringIO()
    view = PlainView(shown, shown)
    view(started(3, first=True))
    view(started(4))
    assert shown.getvalue() == f"{round_heading('test')}\n"


def test_numbers_to_predict_have_no_column_of_accuracies():
    shown = io.StringIO()
    view = PlainView(shown, shown)
    view(started(1, first=True, has_classes=False))
    done = RoundReport(round=1, wall_s=2, train_loss=1, loss=0.25, accuracy=None)
    view(
        RoundDone(
            rounds=5, report=done, cold=1, warm=0, peak_mb=99, remaining_s=1, has_classes=False
        )
    )
    heading, row = shown.getvalue().splitlines()
    assert heading == round_heading("test", has_classes=False)
    assert "acc" not in heading
    assert len(row) == len(heading)


@pytest.mark.parametrize("has_classes", [True, False])
def test_a_federations_rows_fit_80_columns_and_say_who_has_answered(has_classes):
    shown = io.StringIO()
    view = PlainView(shown, shown)
    view(started(1, first=True, has_classes=has_classes, has_clients=True, rounds=200))
    promised = PrivacyReport(
        epsilon=12.3456,
        delta=1e-5,
        noise=1.0,
        clip=1.0,
        next_clip=1.0,
        sampling="fixed",
        relation="replace-one",
        clients=9999,
        cohort=1300,
    )
    done = RoundReport(
        round=100,
        wall_s=1234.56,
        train_loss=1,
        loss=0.25,
        accuracy=0.5 if has_classes else None,
        clients=ClientsReport(asked=1300, answered=1000),
        privacy=promised,
    )
    told = {"cold": 8, "warm": 1200, "peak_mb": 4096, "remaining_s": 1, "has_classes": has_classes}
    view(RoundDone(rounds=200, report=done, **told))
    heading, row = shown.getvalue().splitlines()
    assert len(row) <= 80
    # Without what was promised, columns end where their headings do.
    bare, promise = row.rsplit("  ", 1)
    assert (len(bare), promise) == (len(heading), "ε 12.3")
    for name, value in (("clients", "1000/1300"), ("test loss", "0.2500"), ("time", "  1235 s")):
        stop = heading.index(name) + len(name)
        assert bare[:stop].endswith(value)


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


@pytest.mark.parametrize("width", [120, 60, 40, 20, 8, 1])
def test_a_narrow_terminal_gets_the_columns_that_fit(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    view = LiveView()
    view(started(3, first=True))
    view(
        WorkerProgress(
            worker=0, state="training", epoch=2, step=3, last_step=9, loss=0.5, memory_mb=200
        )
    )
    shown = [segment.text for segment in view._console.render(view._shown())]
    lines = "".join(shown).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    headings = [str(column.header) for column in view._table().columns]
    assert headings[:2] == ["worker", "state"]
    assert (len(headings) == len(PROGRESS_HEADINGS) - 1) == (width >= 60)
    assert width < 20 or all("training" in line for line in lines if line.startswith("0"))


@pytest.mark.parametrize(("clients", "shown"), [(2, False), (5, True)])
def test_a_client_is_shown_where_clients_take_turns(clients, shown):
    made = replace(plan(TrainJob(dataset="mnist", workers=2)), client_samples=(100,) * clients)
    view = LiveView()
    view(
        PlanMade(run="r", job=TrainJob(dataset="mnist"), dataset=dataset(), model="cnn", plan=made)
    )
    view(started(1, first=True))
    view(WorkerProgress(worker=1, client=4, state="training"))
    column = view._table().columns[1]
    assert (column.header == "client") == shown
    assert not shown or [str(cell) for cell in column.cells] == ["", "4"]


@pytest.fixture
def report():
    return RunReport(
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


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_the_last_line_names_what_is_there(tmp_path, report, status):
    ended = RunEnded(report=replace(report, status=status), folder=str(tmp_path / "r"))

    def last():
        return summary_lines(ended)[-1]

    assert last().endswith(f"no report in {tmp_path}/r, a folder that is not there any more")
    (tmp_path / "r").mkdir()
    assert last().endswith(f"no report in {tmp_path}/r")
    (tmp_path / "r" / "report.json").touch()
    assert last().endswith(f"{tmp_path}/r/report.json    disdel logs r")
    (tmp_path / "r" / "report.html").touch()
    assert last().endswith(f"{tmp_path}/r/report.html, report.json    disdel logs r")


def test_the_last_line_names_the_report_that_is_of_the_end(tmp_path, report):
    """The one in a folder without room says that the run goes on."""
    (tmp_path / "report.json").touch()
    ended = RunEnded(report=report, folder=str(tmp_path), elsewhere="/else/report.json")
    assert summary_lines(ended)[-1].strip() == "/else/report.json    disdel logs r"
    (tmp_path / "report.html").touch()
    said = f"{tmp_path}/report.html, /else/report.json    disdel logs r"
    assert summary_lines(ended)[-1].strip() == said
    assert f"{tmp_path}/report.html    " in summary_lines(replace(ended, elsewhere=""))[-1]
    (tmp_path / "report.html").unlink()
    lost = summary_lines(replace(ended, elsewhere=""))[-1].strip()
    assert lost == f"no report in {tmp_path}"


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_pipe_gets_the_result_alone(kind, report, capsys):
    with kind() as view:
        view(Noted(message="on the way"))
        view(RunEnded(report=report, folder="runs/r"))
    shown = capsys.readouterr()
    assert "0.5000" in shown.out
    assert "on the way" not in shown.out
    assert "on the way" in shown.err
    assert "0.5000" not in shown.err
