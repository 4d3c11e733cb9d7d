from __future__ import annotations

import asyncio
import re
import tracemalloc

import pytest

from openwhisk_local.containers import logs
from openwhisk_local.containers.logs import LogCollector, Marks, counted_bytes, log_line

MARKS = Marks("a-secret")
BEGIN, END = MARKS.begin, MARKS.end


def texts(lines: tuple[str, ...]) -> list[str]:
    return [line[31:] for line in lines]


def begin(log: LogCollector) -> None:
    for stream in ("stdout", "stderr"):
        log.feed(stream, BEGIN)


def begun(limit_bytes: int) -> LogCollector:
    log = LogCollector(limit_bytes, MARKS)
    begin(log)
    return log


def test_the_form_of_a_line() -> None:
    line = log_line("stdout", "epoch 1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout: epoch 1", line)


def test_activations_are_cut_at_the_marks() -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"one\ntw")
        log.feed("stderr", b"warning\n" + END)
        log.feed("stdout", b"o\n\n" + END)
        first = await log.take()
        assert first.complete
        assert texts(first.lines) == [
            "stdout: one",
            "stderr: warning",
            "stdout: two",
            "stdout: ",
        ]
        begin(log)
        log.feed("stdout", END)
        log.feed("stderr", END)
        assert (await log.take()).lines == ()

    asyncio.run(run())


def test_a_last_line_without_its_newline() -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"50%" + END)
        log.feed("stderr", END)
        assert texts((await log.take()).lines) == ["stdout: 50%"]

    asyncio.run(run())


def test_the_end_of_a_stream_ends_the_log() -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"cut sho")
        log.close("stdout")
        log.close("stderr")
        taken = await log.take()
        assert taken.complete
        assert texts(taken.lines) == ["stdout: cut sho"]

    asyncio.run(run())


def test_a_log_above_its_limit_is_truncated() -> None:
    async def run() -> None:
        log = begun(2 * counted_bytes(b"12345"))
        log.feed("stdout", b"12345\n67890\nx\n" + END)
        log.feed("stderr", END)
        taken = await log.take()
        assert not taken.complete
        assert texts(taken.lines) == [
            "stdout: 12345",
            "stdout: 67890",
            "stderr: Logs were truncated because the total bytes size exceeds the limit of 152 "
            "bytes.",
        ]

    asyncio.run(run())


def test_no_logs_wanted() -> None:
    async def run() -> None:
        log = begun(0)
        log.feed("stdout", b"12345\n" + END)
        log.feed("stderr", END)
        taken = await log.take()
        assert taken.complete
        assert taken.lines == ()

    asyncio.run(run())


def test_silence_without_a_mark(monkeypatch: object) -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"closed its streams\n")
        taken = await log.take()
        assert not taken.complete
        assert taken.lines[-1].endswith(
            "There was an issue while collecting your logs. Data might be missing."
        )

    before, logs.SILENCE_S = logs.SILENCE_S, 0.01
    try:
        asyncio.run(run())
    finally:
        logs.SILENCE_S = before


def test_what_comes_between_activations_is_nobodys() -> None:
    async def run() -> None:
        log = LogCollector(1000, MARKS)
        log.feed("stdout", b"before any\nhalf a line " + BEGIN + b"one\n" + END + b"after it\n")
        log.feed("stderr", BEGIN + END)
        assert texts((await log.take()).lines) == ["stdout: one"]
        log.feed("stdout", b"late\n" + BEGIN + b"two\n" + END)
        log.feed("stderr", b"late" + BEGIN + END)
        assert texts((await log.take()).lines) == ["stdout: two"]

    asyncio.run(run())


def test_a_run_that_begins_in_what_its_initialization_began() -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"import\nhalf ")
        begin(log)
        log.feed("stdout", b"a line\n" + END)
        log.feed("stderr", END)
        assert texts((await log.take()).lines) == ["stdout: import", "stdout: half a line"]

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_marks_may_come_in_pieces(size: int) -> None:
    async def run() -> None:
        log = LogCollector(1000, MARKS)
        text = b"x\n" + BEGIN + b"one\n\ntwo" + END + b"y"
        for stream in ("stdout", "stderr"):
            for at in range(0, len(text), size):
                log.feed(stream, text[at : at + size])
        taken = await log.take()
        assert texts(taken.lines)[:3] == ["stdout: one", "stdout: ", "stdout: two"]
        assert len(taken.lines) == 6

    asyncio.run(run())


def test_an_action_that_prints_marks_of_openwhisk() -> None:
    async def run() -> None:
        log = begun(1000)
        log.feed("stdout", b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\nmore\n" + END)
        log.feed("stderr", END)
        assert texts((await log.take()).lines)[1:] == ["stdout: more"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        (b"", 71),
        (b"fifteen letters", 86),
        (b'"\\\t', 71 + 6),
        (b"<\x00>", 71 + 18),
        ("é".encode(), 73),
    ],
)
def test_what_a_line_counts(line: bytes, counted: int) -> None:
    assert counted_bytes(line) == counted


@pytest.mark.parametrize("flood", [b"\n", b"\x00", b"ab\n", b"x" * 1000, b"\r\n"])
def test_a_flood_costs_no_more_than_the_limit(flood: bytes) -> None:
    """However short its lines are, or where they have no end."""
    limit_bytes = 1 << 20

    async def run() -> None:
        log = begun(limit_bytes)
        chunk = (flood * (1 << 16))[: 1 << 16]
        tracemalloc.start()
        for _ in range(100):
            log.feed("stdout", chunk)
        held_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held_bytes < 3 * limit_bytes
        log.feed("stdout", b"\n" + END)
        log.feed("stderr", END)
        taken = await log.take()
        assert not taken.complete
        assert taken.lines[-1].endswith(f"exceeds the limit of {limit_bytes} bytes.")

    asyncio.run(run())


def test_what_goes_on_writing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        log = begun(1 << 20)

        async def write() -> None:
            while True:
                log.feed("stderr", b"still here\n")
                await asyncio.sleep(0.001)

        writing = asyncio.create_task(write())
        taken = await log.take()
        writing.cancel()
        assert not taken.complete
        assert taken.lines[-1].endswith("Data might be missing.")

    monkeypatch.setattr(logs, "TAKE_DEADLINE_S", 0.05)
    asyncio.run(run())
