from __future__ import annotations

import asyncio
import re

from disdel.embedded.containers import logs
from disdel.embedded.containers.logs import SENTINEL, LogCollector, log_line

END = f"{SENTINEL}\n".encode()


def texts(lines: tuple[str, ...]) -> list[str]:
    return [line[31:] for line in lines]


def test_the_form_of_a_line() -> None:
    line = log_line("stdout", "epoch 1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout: epoch 1", line)


def test_activations_are_cut_at_the_sentinels() -> None:
    async def run() -> None:
        log = LogCollector(1000)
        log.feed("stdout", b"one\ntw")
        log.feed("stderr", b"warning\n" + END)
        log.feed("stdout", b"o\n" + END + b"next\n")
        first = await log.take()
        assert first.complete
        assert texts(first.lines) == [
            "stdout: one",
            "stderr: warning",
            "stdout: two",
            "stdout: next",
        ]
        log.feed("stdout", END)
        log.feed("stderr", END)
        assert (await log.take()).lines == ()

    asyncio.run(run())


def test_a_last_line_without_its_newline() -> None:
    async def run() -> None:
        log = LogCollector(1000)
        log.feed("stdout", b"50%" + END)
        log.feed("stderr", END)
        assert texts((await log.take()).lines) == ["stdout: 50%"]

    asyncio.run(run())


def test_the_end_of_a_stream_ends_the_log() -> None:
    async def run() -> None:
        log = LogCollector(1000)
        log.feed("stdout", b"cut sho")
        log.close("stdout")
        log.close("stderr")
        taken = await log.take()
        assert taken.complete
        assert texts(taken.lines) == ["stdout: cut sho"]

    asyncio.run(run())


def test_a_log_above_its_limit_is_truncated() -> None:
    async def run() -> None:
        log = LogCollector(10)
        log.feed("stdout", b"12345\n67890\nx\n" + END)
        log.feed("stderr", END)
        taken = await log.take()
        assert not taken.complete
        assert texts(taken.lines) == [
            "stdout: 12345",
            "stdout: 67890",
            "stderr: Logs were truncated because the total bytes size exceeds the limit of 10 "
            "bytes.",
        ]

    asyncio.run(run())


def test_no_logs_wanted() -> None:
    async def run() -> None:
        log = LogCollector(0)
        log.feed("stdout", b"12345\n" + END)
        log.feed("stderr", END)
        taken = await log.take()
        assert taken.complete
        assert taken.lines == ()

    asyncio.run(run())


def test_silence_without_a_sentinel(monkeypatch: object) -> None:
    async def run() -> None:
        log = LogCollector(1000)
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
