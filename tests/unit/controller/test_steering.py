"""What comes from others is shown and steers nothing: terminals, rich text, pictures, formulas."""

import contextlib
import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.cli.output import print_table
from disdel.controller.inference.metrics import evaluate_classes, write_confusion
from disdel.host.streams import on_one_line, printable
from disdel.report.confusion import draw_confusion
from disdel.report.views import LiveView, PlainView
from disdel.types import RunReport
from disdel.types.events import Noted, RoundStarted
from disdel.types.report_json import report_to_json

NASTY = "\x1b[2J\x07\r\x9b31m\u202e[bold]x[/bold]"
SHOWN = "\\x1b[2J\\x07\\r\\x9b31m\\u202e[bold]x[/bold]"


def test_what_steers_is_escaped_and_text_is_not():
    assert printable(NASTY) == SHOWN
    assert printable("grün 数\té\n\r\n") == "grün 数\té\n\n"
    assert on_one_line("a\nb\tc\u2028") == "a\\nb\\tc\\u2028"
    assert printable(SHOWN) == SHOWN


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_command_s_streams_write_text_only(stream):
    code = (
        "import sys; from disdel.host.streams import open_streams; open_streams()\n"
        f"print({NASTY!r}, file=sys.{stream})\n"
        f"sys.{stream}.write({NASTY!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert getattr(done, stream).decode() == f"{SHOWN}\n{SHOWN}"


def test_an_error_about_a_user_s_file_steers_nothing(tmp_path):
    name = f"{NASTY.replace('/', '')}.csv"
    done = subprocess.run(
        [sys.executable, "-m", "disdel", "dataset", "import", "x", str(tmp_path / name)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\\x1b[2J" in done.stderr
    assert b"[bold]" in done.stderr


def test_views_show_it_as_it_is():
    progress = io.StringIO()
    PlainView(progress, progress)(Noted(message=f"{NASTY}\nnote    another"))
    assert progress.getvalue() == f"note    {SHOWN}\\nnote    another\n"


def test_the_live_view_shows_it_as_it_is(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with LiveView() as view:
            view(RoundStarted(round=1, first=True, rounds=1, workers=1))
            view(Noted(message=NASTY))
    shown = ""
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while read := screen.read(1 << 16):  # A terminal that is closed ends in an error.
            shown += read.decode()
    assert SHOWN in shown
    assert "\x1b[2J" not in shown


def test_a_table_keeps_its_rows(capsys):
    print_table(("name",), [["a\nb"], [NASTY]])
    assert capsys.readouterr().out == f"name\na\\nb\n{SHOWN}\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [(["memory-agent"], "disdel[kubernetes]"), (["dataset", "import"], "disdel[compiled]")],
)
def test_help_shows_brackets(command, text):
    assert text in CliRunner().invoke(app, [*command, "--help"]).stdout


def test_names_are_no_formulas_in_a_picture(tmp_path):
    names = ("$\\frac{$", NASTY)
    evaluation = evaluate_classes(np.eye(2, dtype=np.float32), np.arange(2), names, 1)
    draw_confusion(evaluation, "$\\bad{", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_report_of_many_classes_is_small(tmp_path):
    names = tuple(f"class {n}" for n in range(2000))
    evaluation = evaluate_classes(
        np.eye(2000, dtype=np.float32), np.roll(np.arange(2000), 1), names, 1
    )
    report = RunReport(
        run="r",
        job="infer",
        dataset="d",
        platform="embedded",
        status="ok",
        settings={},
        wall_s=1,
        evaluation=evaluation,
    )
    fields = report_to_json(report)
    assert len(json.dumps(fields, indent=1)) < 500_000
    assert fields["evaluation"]["confusion"] is None
    write_confusion(tmp_path, evaluation)
    lines = (tmp_path / fields["evaluation"]["confusion_file"]).read_text().splitlines()
    assert (lines[:2], len(lines)) == (["true,predicted,samples", "0,1,1"], 2001)
