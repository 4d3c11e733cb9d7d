"""What is told of a Flower app: the lines below its run, its page, and the report from its JSON."""

from disdel.report.flower_lines import flower_plan_lines, flower_summary_lines
from disdel.report.html_report import render
from disdel.types import RunReport
from disdel.types.events import FlowerPlanned
from disdel.types.flower import FlowerReport, MessageEntry
from disdel.types.report_json import report_from_json, report_to_json


def entry(partition, *, outcome="ok", kind="train", number=1, **others):
    return MessageEntry(
        message=f"m{partition}",
        node=str(partition),
        partition=partition,
        round=number,
        type=kind,
        outcome=outcome,
        attempts=1,
        sent_bytes=1024,
        wall_s=1.0,
        gb_s=0.5,
        **others,
    )


FLOWER = FlowerReport(
    app="me/app",
    version="1.0",
    flwr="1.42.0",
    nodes=3,
    containers=2,
    memory_mb=384,
    basis="220 MB when it was loaded",
    timeout_s=300,
    run_config={"rounds": 2, "rate": 0.1, "name": "x", "flag": True},
    messages=(
        entry(0, reply_bytes=2048, metrics={"loss": 0.5, "own": 1.0}),
        entry(1, reply_bytes=2048, metrics={"loss": 0.25}),
        entry(2, outcome="raised", error="KeyError: '<b>' (client.py:3, in train)"),
        entry(0, kind="evaluate", number=2, metrics={"accuracy": 0.75}),
    ),
)
REPORT = RunReport(
    run="r",
    job="flower",
    dataset="me/app",
    platform="embedded",
    status="ok",
    wall_s=3,
    flower=FLOWER,
)


def test_lines():
    plan = "\n".join(flower_plan_lines(FlowerPlanned(run="r", plan=FLOWER)))
    assert "me/app 1.0 (flwr 1.42.0): 3 nodes in turn in 2 containers × 384 MB" in plan
    lines = flower_summary_lines(FLOWER)
    assert lines[0].strip() == "4 messages to nodes: 1 raised"
    assert lines[2].split() == [
        *("1", "train", "2", "of", "3", "3", "KiB", "4", "KiB", "1.5", "loss", "0.375")
    ]
    assert lines[3].split()[-2:] == ["accuracy", "0.75"]


def test_a_run_without_messages_has_lines():
    empty = FlowerReport(**{**{f: getattr(FLOWER, f) for f in FLOWER.__slots__}, "messages": ()})
    assert flower_summary_lines(empty) == ["        0 messages to nodes, all answered"]


def test_page_and_json():
    page = render(REPORT)
    assert "KeyError: &#39;&lt;b&gt;&#39; (client.py:3, in train)" in page
    assert "Where the time went" not in page
    assert "accuracy 0.75" in page
    assert report_from_json(report_to_json(REPORT)) == REPORT
