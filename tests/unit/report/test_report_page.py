"""The page of a report: every activation is on it, in its order, and nothing of it is markup."""

import dataclasses
import html.parser
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.controller.invoking.journal import total
from disdel.errors import UsageError
from disdel.report.axes import Scale, ticks
from disdel.report.bars import timeline
from disdel.report.html_report import render
from disdel.report.lines import summary_lines
from disdel.types import ErrorReport, LedgerEntry, Phases, RoundReport, RunReport, Times
from disdel.types.events import RunEnded
from disdel.types.report_json import read_report, report_from_json, report_to_json
from disdel.types.timeline import round_times, spans, split_time
from tests.support import planning

EVIL = "</title><script src='//x'></script>\"&{{ 7 * 7 }}"


def activation(number=1, **changes):
    fields = {
        "id": f"{number:032x}",
        "start": "cold",
        "wait_ms": 20,
        "init_ms": 1000,
        "duration_ms": 3000,
        "working_set_mb": 500,
        "times": Times(submitted_ms=100, started_ms=120, received_ms=3130),
        "phases": Phases(
            imported_ms=5,
            data_ms=100,
            built_ms=400,
            loaded_ms=500,
            computed_ms=1800,
            stored_ms=1900,
        ),
    }
    return planning.activation(**(fields | changes))


def report(**changes):
    fields = {
        "run": "20261121-train-digits-0000",
        "job": "train",
        "dataset": "digits",
        "platform": "embedded",
        "status": "ok",
        "settings": {"batch": 64},
        "wall_s": 4.0,
    }
    return RunReport(**(fields | changes))


def saved(report):
    """The report as it comes back from its file."""
    return report_from_json(json.loads(json.dumps(report_to_json(report))))


class Page(html.parser.HTMLParser):
    """Tags and texts of a page that is well-formed."""

    VOID = frozenset({"meta"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.activations = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if dict(attributes).get("class") == "activation":
            self.activations.append(dict(attributes)["data-activation"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@st.composite
def activations(draw):
    submitted_ms = draw(st.integers(0, 100_000))
    wait_ms, init_ms, run_ms, reply_ms = (draw(st.integers(0, 5000)) for _ in range(4))
    # The clocks of the platform and of the activation round and differ a little.
    count = len(dataclasses.fields(Phases))
    ends = sorted(draw(st.lists(st.integers(0, run_ms + 3), min_size=count, max_size=count)))
    reached = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    phases = Phases(
        **{
            field.name: end_ms if known else None
            for field, end_ms, known in zip(dataclasses.fields(Phases), ends, reached, strict=True)
        }
    )
    started_ms = submitted_ms + wait_ms
    return activation(
        number=draw(st.integers(0, 10**9)),
        task=draw(st.sampled_from(["train", "score", "collect", "evaluate"])),
        worker=draw(st.none() | st.integers(0, 3)),
        round=draw(st.integers(0, 4)),
        init_ms=init_ms,
        duration_ms=init_ms + run_ms,
        peak_mb=draw(st.none() | st.integers(0, 900)),
        working_set_mb=draw(st.none() | st.integers(0, 900)),
        outcome=draw(st.sampled_from(["ok", "continued-time", "oom", "error"])),
        times=Times(
            submitted_ms=submitted_ms,
            started_ms=started_ms,
            received_ms=started_ms + init_ms + run_ms + reply_ms,
        ),
        phases=draw(st.none() | st.just(phases)),
    )


RUNS = st.lists(activations(), max_size=8, unique_by=lambda one: one.id)


@given(activations())
def test_phases_follow_one_another_from_submission_to_answer(one):
    parts = spans(one)
    ends = [one.times.submitted_ms, *(part.stop_ms for part in parts)]
    assert [part.start_ms for part in parts] == ends[:-1]
    assert all(part.stop_ms > part.start_ms for part in parts)
    assert ends[-1] == (one.times.received_ms if parts else one.times.submitted_ms)


def test_the_phases_of_a_cold_activation():
    assert [(part.stage, part.stop_ms) for part in spans(activation())] == [
        ("wait", 120),
        ("init", 1120),
        ("import", 1125),
        ("data", 1220),
        ("build", 1520),
        ("load", 1620),
        ("train", 2920),
        ("store", 3020),
        ("reply", 3130),
    ]


@given(RUNS)
def test_each_moment_of_a_run_counts_once(run):
    wall_s = 0.5 + max((one.times.received_ms for one in run), default=0) / 1000
    split = split_time(run, wall_s)
    if not any(spans(one) for one in run):
        assert split is None
        return
    parts = dataclasses.asdict(split).values()
    assert sum(parts) == pytest.approx(wall_s)
    assert all(part >= 0 for part in parts)


def test_training_hides_what_happens_beside_it():
    # Worker 1 is stuck in its start while worker 0 trains from 1620 to 2920.
    other = activation(
        2,
        worker=1,
        init_ms=4000,
        duration_ms=4500,
        times=Times(submitted_ms=100, started_ms=120, received_ms=4700),
        phases=Phases(loaded_ms=100, computed_ms=400, stored_ms=480),
    )
    split = split_time([activation(), other], 5.0)
    assert split.start_s == 1.62
    assert split.training_s == pytest.approx(1.3 + 0.3)
    assert split.preparing_s == pytest.approx(4.12 - 2.92)
    assert split.weights_s == pytest.approx(0.1 + 0.08)
    assert split.invoking_s == pytest.approx(0.1)
    assert split.end_s == pytest.approx(0.3)


def test_what_fails_is_no_training():
    lost = activation(
        2,
        init_ms=0,
        duration_ms=1000,
        times=Times(submitted_ms=3130, started_ms=3130, received_ms=4130),
        phases=None,
        outcome="oom",
    )
    split = split_time([activation(), lost], 4.13)
    assert (split.training_s, split.preparing_s) == (1.3, 1.0)


@settings(max_examples=25)
@given(RUNS)
def test_every_activation_of_the_report_is_on_the_page(run):
    page = Page(render(saved(report(activations=tuple(run)))))
    drawn = [one.id for one in run if spans(one)]
    assert sorted(set(page.activations)) == sorted(drawn)
    assert {one.id for one in run} <= set(page.texts)


@given(RUNS)
def test_bars_lie_in_the_chart_and_never_on_one_another(run):
    chart = timeline(run, 0.0, 200.0)
    by_row = {}
    for bar in chart.bars:
        assert chart.left <= bar.x <= bar.x + bar.width <= chart.right + 1
        assert bar.y + bar.height <= chart.bottom
        by_row.setdefault(bar.y, []).append(bar)
    for bars in by_row.values():
        owners = {(bar.activation.worker, bar.activation.action) for bar in bars}
        assert len(owners) == 1
        ends = sorted(
            (b.activation.times.submitted_ms, b.activation.times.received_ms) for b in bars
        )
        assert all(ends[i][1] <= ends[i + 1][0] for i in range(len(ends) - 1))


def test_what_users_provide_is_text_and_never_markup():
    evil = report(
        dataset=EVIL,
        run=EVIL,
        status="failed",
        error=ErrorReport(kind=EVIL, message=EVIL),
        model=EVIL,
        settings={EVIL: EVIL},
        activations=(activation(action=EVIL, task=EVIL, worker=None, id=EVIL),),
        ledger=(LedgerEntry(round=1, worker=0, attempt=0, samples=1, checksum=EVIL),),
    )
    text = render(saved(evil))
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert EVIL in page.activations
    assert any(EVIL in shown for shown in page.texts)
    assert "49" not in [shown.strip() for shown in page.texts]


def test_the_page_asks_for_nothing_from_anywhere():
    page = Page(render(saved(report(activations=(activation(),)))))
    assert not [a for _, given in page.tags for a in given if a in ("src", "href", "xlink:href")]
    assert not any(re.search(r"url\(|@import", shown) for shown in page.texts)


def test_an_empty_run_a_failed_one_and_one_of_an_earlier_release_have_a_page():
    assert "No activation ended." in render(saved(report(wall_s=0.0)))
    lost = activation(outcome="oom", peak_mb=None, working_set_mb=None, phases=None)
    failed = report(
        status="failed",
        error=ErrorReport(kind="activation", message="the action exhausted its memory"),
        activations=(lost,),
    )
    page = Page(render(saved(failed)))
    assert page.activations == [lost.id]
    assert "failed" in page.texts
    old = activation(times=None, phases=None)
    assert "earlier release" in render(saved(report(activations=(old,))))


def test_a_loss_that_is_no_number_is_left_out_of_the_chart():
    rounds = tuple(
        RoundReport(
            round=number,
            wall_s=1.0,
            train_loss=loss,
            loss=loss,
            accuracy=0.5,
        )
        for number, loss in ((1, 0.5), (2, float("nan")), (3, 0.25))
    )
    text = render(saved(report(rounds=rounds)))
    assert "nan," not in text
    assert text.count("<circle") == 2 + 3


def test_where_numbers_are_predicted_there_is_no_accuracy_and_no_chart_of_it():
    metrics = {"mean_absolute_error": 0.625}
    entry = RoundReport(round=1, wall_s=1.0, train_loss=0.5, loss=0.5, metrics=metrics)
    text = render(saved(report(accuracy=None, loss=0.5, rounds=(entry,))))
    assert "accuracy, %" not in text
    assert "<th>mean_absolute_error</th>" in text
    assert "</td><td>0.6250</td>" in text


def test_a_round_that_was_not_scored_has_no_score():
    rounds = (
        RoundReport(round=1, wall_s=1.0, train_loss=0.25),
        RoundReport(round=2, wall_s=1.0, train_loss=0.2, loss=0.5, accuracy=0.75),
    )
    page = render(saved(report(rounds=rounds)))
    assert page.count("<td>0.2500</td><td>\N{EN DASH}</td><td>\N{EN DASH}</td>") == 1
    assert "<td>0.2000</td><td>0.5000</td><td>75.00 %</td>" in page


def test_the_summary_says_where_the_time_went():
    ended = RunEnded(report=report(activations=(activation(),), wall_s=4.0), folder="runs/x")
    [line] = [line for line in summary_lines(ended) if "training" in line]
    assert line == "        start 1.6 s, training 1.3 s, rest of the rounds 0.2 s, end 0.9 s"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_lie_on_their_axis(low, length, about):
    found = ticks(low, low + length, about)
    assert len(found) <= about + 1
    slack = 1e-9 * max(1.0, abs(low), length) + length * 1e-6
    assert all(low - slack <= tick <= low + length + slack for tick in found)


def test_what_lies_outside_an_axis_is_drawn_at_its_end():
    scale = Scale(1, 3, 100, 300)
    assert [scale(value) for value in (0, 1, 2, 3, 4)] == [100, 100, 200, 300, 300]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04\0", "an archive, such as a model of Keras or PyTorch"),
        (b"\x89HDF\r\n", "an HDF5 file, such as a model"),
        (b"\x02\0\0\0\0\0\0\0{}\xff", "a model (safetensors)"),
        (b"\x89PNG\r\n", "a picture"),
        (b"<!doctype html>", "a page of HTML or XML"),
        (b'{"version": 1, "ru', "damaged JSON"),
        (b"epoch,loss\n", "text that is no JSON"),
        (b"\xff\xfe", "a binary file"),
        (b"", "empty"),
    ],
)
def test_a_file_of_another_kind_is_called_so(tmp_path, content, kind):
    file = tmp_path / "model.keras"
    file.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_report(file)
    assert str(refused.value) == (
        f"{file} is {kind}, and no report of a run: name another run, or another report.json"
    )


def test_the_command_renders_a_file_again(tmp_path):
    source = tmp_path / "report.json"
    source.write_text(json.dumps(report_to_json(report(activations=(activation(),)))))
    target = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(source), "--output", str(target)])
    assert done.stdout.strip() == str(target)
    assert target.read_text() == render(read_report(source))
    assert CliRunner().invoke(app, ["report", str(source)]).exit_code == 0
    assert (tmp_path / "report.html").read_text() == target.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no json", "is text that is no JSON"),
        ("[]", "it is no report of a run, but a list"),
        ('{"version": 3}', "it is a report of version 3, and this disdel reads versions 1 and 2"),
        ('{"version": true}', "version True, and this disdel reads"),
        ("{}", "it has no version"),
        ('{"version": 2}', "it is no report of a run"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, complaint):
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        read_report(file)


def test_each_moment_of_a_round_counts_once():
    """A cold container's wait is its start; of two at a time, what trains counts."""
    warm = activation(
        2,
        start="warm",
        init_ms=0,
        duration_ms=2000,
        times=Times(submitted_ms=1100, started_ms=1150, received_ms=4000),
        phases=Phases(loaded_ms=50, computed_ms=1500, stored_ms=1900),
    )
    found = round_times([activation(), warm])
    # The cold one: submitted 100, called 1120, loads from 1520, trains 1620 to 2920, stores until
    # 3020; the warm one trains 1200 to 2650 and stores until 3050.
    assert found.training_s == pytest.approx((2920 - 1200) / 1000)
    assert found.start_s == pytest.approx((1200 - 100) / 1000)
    assert found.weights_s == pytest.approx((3050 - 2920) / 1000)
    assert found.invocation_s == pytest.approx((4000 - 3050) / 1000)
    parts = dataclasses.astuple(found)
    assert sum(parts) == pytest.approx((4000 - 100) / 1000)
    assert round_times([activation(times=None)]) is None
    assert round_times([]) is None


@pytest.mark.parametrize(
    ("resident_mb", "said"),
    [
        (200, "at most 200 of 224 MB needed"),
        (229, "at most 229 MB resident, library pages beyond 224 MB among them"),
    ],
)
def test_what_an_inference_needed_is_not_said_to_be_more_than_it_had(resident_mb, said):
    made = dataclasses.replace(planning.plan(), memory_mb=224)
    activations = [activation(working_set_mb=resident_mb)]
    done = report(job="infer", plan=made, activations=activations, totals=total(activations))
    lines = summary_lines(RunEnded(report=done, folder="runs/one"))
    assert [line for line in lines if line.endswith(f"; {said}")]
